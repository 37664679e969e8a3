"""ManifestDiff: files that are not known, and of a merge the files that it was made of."""

from __future__ import annotations

import pytest

from features.lake.manifest import Manifest
from features.lake.manifest_diff import ManifestDiff, diff_manifest, is_merged

A, B, C = "000001-0.parquet", "000002-0.parquet", "000003-0.parquet"
M = "000003-merged-parts-0.parquet"
S, T = "000001-superseded.parquet", "000002-superseded.parquet"
N = "000003-merged-superseded-0.parquet"
R = "000002-refused.parquet"

CASES = {
    "nothing": (Manifest(parts=(A,)), {A}, (), ()),
    "a part": (Manifest(parts=(A, B)), {A}, (B,), ()),
    "a list of superseded": (Manifest(parts=(A,), superseded=(S, T)), {A, S}, (), (T,)),
    "merged, none known": (Manifest(parts=(M,), retired=(A, B)), {C}, (M,), ()),
    "merged, one known": (Manifest(parts=(M,), retired=(A, B, C)), {A}, (B, C), ()),
    "merged, all known": (Manifest(parts=(M,), retired=(A, B)), {A, B}, (), ()),
    "seen merged": (Manifest(parts=(M, C), retired=(A, B)), {M, A, B}, (C,), ()),
    "a merge and a part": (Manifest(parts=(M, C), retired=(A, B)), {A}, (C, B), ()),
    "refused rows": (Manifest(parts=(M,), retired=(A, R)), {A}, (), ()),
    "both merged": (
        Manifest(parts=(M,), superseded=(N,), retired=(A, B, S, T)),
        {A, S},
        (B,),
        (T,),
    ),
    "superseded merged after parts": (
        Manifest(parts=(M,), superseded=(N,), retired=(S, T)),
        {A, S},
        (M,),
        (T,),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_new_is_what_no_known_file_holds(case) -> None:
    manifest, known, parts, superseded = case
    assert diff_manifest(manifest, known) == ManifestDiff(parts=parts, superseded=superseded)


def test_a_merged_file_is_told_by_its_name() -> None:
    assert [is_merged(name) for name in (A, M, N)] == [False, True, True]
