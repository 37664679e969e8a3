"""Shadow mode: what a challenger would say, beside what the champion says.

Both score the same features as of the same moment; the two probabilities of every account are stored
as a Parquet file in the workspace. Nothing that is shown to anybody changes, and a challenger that
cannot be used is a sentence.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from features.catalogue.catalogue import HEALTH_SCORE
from features.catalogue.definitions.attributes import WITHOUT_CONTRACT
from features.compute.snapshot_store import SnapshotStore
from features.events.schema import UTC_INSTANT
from features.format_version import PARQUET_KEY, newer_parquet
from features.workspace import Workspace
from features.workspace_files import write_atomically
from registry.bundle.bundle import BundleError, ModelBundle
from registry.bundle.feature_contract import FeatureContractError
from registry.outcomes import CHURN, EXPANSION
from registry.store.store import ModelStore, ModelStoreError
from serving.scoring.models_served import without_paths
from serving.scoring.score import RISK_TIERS, TIER_HORIZON_DAYS, risk_tiers

FORMAT = 1
"""The newest version of the stored comparisons; a file that states none has version 1."""

SHADOWED = (CHURN.name, EXPANSION.name)
"""The outcomes whose challengers are compared."""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "account_id": pl.String,
    "as_of": UTC_INSTANT,
    "horizon_days": pl.Int64,
    "champion_version": pl.Int64,
    "challenger_version": pl.Int64,
    "champion_probability": pl.Float64,
    "challenger_probability": pl.Float64,
    "champion_tier": pl.String,
    "challenger_tier": pl.String,
}
"""One row an account; ``tier`` is the band of each one's own base rate."""


class ShadowError(Exception):
    """There is nothing to compare."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One account that the two see differently."""

    account_id: str
    champion: float
    challenger: float


@dataclass(frozen=True, kw_only=True)
class ShadowSummary:
    """How far champion and challenger agree, as of one moment.

    ``agreement`` is the rank correlation of their probabilities; None where one of them gives
    everybody the same.
    """

    label: str
    as_of: datetime
    horizon_days: int
    champion_version: int
    challenger_version: int
    accounts: int
    agreement: float | None
    mean_champion: float
    mean_challenger: float
    mean_distance: float
    to_higher_tier: int
    to_lower_tier: int
    largest: tuple[Difference, ...]

    def lines(self) -> tuple[str, ...]:
        """The summary as a person reads it."""
        agree = "not known" if self.agreement is None else f"{self.agreement:.2f}"
        return (
            f"{self.label} within {self.horizon_days} days as of {self.as_of:%Y-%m-%d}: champion "
            f"version {self.champion_version} beside challenger version {self.challenger_version}, "
            f"{self.accounts:,} accounts.",
            f"Rank agreement {agree}; mean probability {self.mean_champion:.1%} and "
            f"{self.mean_challenger:.1%}; {self.mean_distance:.1%} apart on average.",
            f"With the challenger {self.to_higher_tier:,} accounts would be in a higher tier of "
            f"probability and {self.to_lower_tier:,} in a lower one.",
            *(
                f"- {one.account_id}: {one.champion:.1%} and {one.challenger:.1%}"
                for one in self.largest
            ),
        )


class ShadowFiles:
    """The comparisons of a workspace: one file per model, moment and pair of versions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, label: str, compared: pl.DataFrame) -> Path:
        """Store a comparison; the same pair as of the same moment again replaces it."""
        as_of, champion, challenger = compared.select(
            "as_of", "champion_version", "challenger_version"
        ).row(0)
        content = io.BytesIO()
        compared.write_parquet(content, metadata={PARQUET_KEY: str(FORMAT)})
        name = f"as_of_{as_of:%Y%m%dT%H%M%SZ}_{champion}_{challenger}.parquet"
        path = self._folder / label / name
        write_atomically(path, content.getvalue())
        return path

    def newest(self, label: str) -> pl.DataFrame:
        """The comparison as of the latest moment, of the newest challenger.

        Raises:
            ShadowError: none was made, or a newer Keepwell made the newest.
        """

        def place(path: Path) -> tuple[str, int, int]:
            as_of, champion, challenger = path.stem.removeprefix("as_of_").split("_")
            return as_of, int(challenger), int(champion)

        paths = sorted((self._folder / label).glob("as_of_*.parquet"), key=place)
        if not paths:
            raise ShadowError(
                f"No {label} challenger was scored beside the champion yet. Train one (keepwell "
                f"train {label}) and score with both (keepwell score --shadow --out FILE)."
            )
        newer = newer_parquet(
            pl.read_parquet_metadata(paths[-1]), newest=FORMAT, what=paths[-1].name
        )
        if newer is not None:
            raise ShadowError(newer)
        return pl.read_parquet(paths[-1])


def compare(
    frame: pl.DataFrame,
    champion: ModelBundle,
    challenger: ModelBundle,
    *,
    versions: tuple[int, int],
    digests: Mapping[str, str],
) -> pl.DataFrame:
    """Both probabilities of every account of a snapshot that may have a contract.

    Raises:
        FeatureContractError: a model reads what the snapshot lacks.
        ShadowError: the two have no horizon in common, or nobody is left to score.
    """
    common = set(champion.horizons) & set(challenger.horizons)
    if "contract_status" in frame.columns:
        frame = frame.remove(pl.col("contract_status").is_in(WITHOUT_CONTRACT))
    if not common or frame.is_empty():
        raise ShadowError(
            "the two have no horizon in common"
            if not common
            else "no account has a running contract"
        )
    horizon = TIER_HORIZON_DAYS if TIER_HORIZON_DAYS in common else max(common)
    estimates: dict[str, pl.Expr | pl.Series] = {}
    for name, model, version in (
        ("champion", champion, versions[0]),
        ("challenger", challenger, versions[1]),
    ):
        chance = model.probability(model.contract.matrix(frame, digests=digests), horizon)
        usual = np.full(len(chance), model.base_rate(horizon))
        estimates |= {
            f"{name}_version": pl.lit(version, dtype=pl.Int64),
            f"{name}_probability": pl.Series(chance),
            f"{name}_tier": pl.Series(
                [RISK_TIERS[tier].name for tier in risk_tiers(chance, usual)]
            ),
        }
    return (
        frame.select("account_id", "as_of")
        .with_columns(horizon_days=pl.lit(horizon, dtype=pl.Int64), **estimates)
        .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    )


def shadow(workspace: Workspace, store: ModelStore, as_of: datetime) -> tuple[str, ...]:
    """Score with champion and challenger as of a snapshot and keep both; a sentence per model."""
    frame = SnapshotStore(workspace.snapshots_dir).read(as_of)
    digests = {
        **workspace.settings.catalogue.digests,
        HEALTH_SCORE: workspace.settings.formula.version,
    }
    lines = []
    for label in SHADOWED:
        try:
            versions = store.versions(label)
            champion = next((v.version for v in versions if v.is_champion), None)
            challenger = next((v.version for v in versions if v.is_challenger), None)
            if champion is None or challenger is None:
                lacks = "champion" if champion is None else "challenger"
                lines.append(f"{label}: there is no {lacks}, so nothing was compared.")
                continue
            compared = compare(
                frame,
                store.load(label, champion),
                store.load(label, challenger),
                versions=(champion, challenger),
                digests=digests,
            )
        except (BundleError, FeatureContractError, ModelStoreError, ShadowError) as error:
            lines.append(f"{label}: nothing was compared, because {without_paths(str(error))}")
            continue
        ShadowFiles(workspace.shadow_dir).keep(label, compared)
        lines.append(
            f"{label}: {compared.height:,} accounts also scored by challenger version "
            f"{challenger}; see keepwell models shadow {label}."
        )
    return tuple(lines)


def summarise(label: str, compared: pl.DataFrame, *, largest: int = 5) -> ShadowSummary:
    """What a comparison comes to."""
    champion = compared["champion_probability"].to_numpy()
    challenger = compared["challenger_probability"].to_numpy()
    ranks = np.stack([pl.Series(values).rank().to_numpy() for values in (champion, challenger)])
    ordered = bool((np.ptp(ranks, axis=1) > 0).all())
    place = {tier.name: at for at, tier in enumerate(RISK_TIERS)}
    step = compared["challenger_tier"].replace_strict(place, return_dtype=pl.Int64) - compared[
        "champion_tier"
    ].replace_strict(place, return_dtype=pl.Int64)
    first = compared.row(0, named=True)
    apart = compared.sort(
        (pl.col("champion_probability") - pl.col("challenger_probability")).abs(),
        "account_id",
        descending=[True, False],
    ).head(largest)
    return ShadowSummary(
        label=label,
        as_of=first["as_of"],
        horizon_days=first["horizon_days"],
        champion_version=first["champion_version"],
        challenger_version=first["challenger_version"],
        accounts=compared.height,
        agreement=float(np.corrcoef(ranks)[0, 1]) if ordered else None,
        mean_champion=float(champion.mean()),
        mean_challenger=float(challenger.mean()),
        mean_distance=float(np.abs(champion - challenger).mean()),
        to_higher_tier=int((step > 0).sum()),
        to_lower_tier=int((step < 0).sum()),
        largest=tuple(
            Difference(
                account_id=row["account_id"],
                champion=row["champion_probability"],
                challenger=row["challenger_probability"],
            )
            for row in apart.iter_rows(named=True)
        ),
    )
