"""Encode and decode a bundle's files: ``bundle.json``, ``arrays.npz`` and LightGBM's text.

Encoding is deterministic: equal bundles are equal byte for byte. Decoding never unpickles, and
raises BundleError for anything that is not valid.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from registry.bundle.calibration import Calibration, CalibrationError, Unseen
from registry.bundle.feature_contract import ContractFeature, FeatureContract, FeatureContractError
from registry.bundle.linear import LinearForm, LinearFormError
from registry.bundle.long_horizons import HorizonShare, LongHorizonChance
from registry.bundle.metadata import BundleError, BundleMetadata, GoldenRows, ReferenceDistribution
from registry.bundle.model_forms import ModelForm, form_named
from registry.bundle.renewal_risk import ContractCalendar, RenewalRisk
from registry.bundle.untreated_risk import (
    UntreatedRisk,
    UntreatedRiskError,
    read_untreated_risk,
    untreated_risk_document,
)
from registry.promotion.reason_evidence import (
    ReasonEvidence,
    read_reason_evidence,
    reason_evidence_document,
)
from registry.trees.arrays import TreeStructureError

DOCUMENT, ARRAYS, TEXT = "bundle.json", "arrays.npz", "model.txt"

TREATMENT_FORM = "untouched.touch."
"""Prefix of the arrays of the form that predicts treatment."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BundleContents:
    """Everything that a bundle's files hold.

    ``not_estimable`` are horizons that the data could not judge, with the reason. ``amount_ratio``
    is the expected relative rise of MRR given an expansion. ``long_horizons`` are the chances after
    the last horizon of ``calibration``, in rising order; ``shares`` are those of the horizons before
    it, in falling order, or none: then one order of accounts serves them all. ``untreated_risk`` is None
    where the training did not look at interventions.
    """

    label: str
    contract: FeatureContract
    form: ModelForm
    calibration: Calibration
    base_rates: Mapping[int, float]
    metadata: BundleMetadata
    reference: ReferenceDistribution
    golden: GoldenRows
    metrics: Mapping[str, float] = field(default_factory=dict)
    amount_ratio: float | None = None
    not_estimable: Mapping[int, str] = field(default_factory=dict)
    long_horizons: tuple[LongHorizonChance, ...] = ()
    shares: tuple[HorizonShare, ...] = ()
    untreated_risk: UntreatedRisk | None = None
    reason_evidence: ReasonEvidence | None = None  # None: no training examined its reasons
    renewal_risk: RenewalRisk | None = None  # how the score acts on the ends of terms
    model_text: str | None = None  # LightGBM's own text, for data scientists; never parsed here


def encode(bundle: BundleContents) -> dict[str, bytes]:
    """The bundle as files."""
    form = bundle.form.kind
    document: dict[str, Any] = {
        "label": bundle.label,
        "form": form,
        "fingerprint": bundle.contract.fingerprint,
        "features": [[f.name, f.digest, list(f.categories)] for f in bundle.contract.features],
        "calibration": {
            "horizons": list(bundle.calibration.horizons),
            "slope": float(bundle.calibration.slope),
            "intercepts": [float(a) for a in bundle.calibration.intercepts],
            **(
                {}
                if bundle.calibration.unseen is None
                else {
                    "unseen": [
                        float(bundle.calibration.unseen.chance),
                        float(bundle.calibration.unseen.most),
                    ]
                }
            ),
        },
        "base_rates": {str(h): float(r) for h, r in bundle.base_rates.items()},
        "not_estimable": {str(h): reason for h, reason in bundle.not_estimable.items()},
        "amount_ratio": None if bundle.amount_ratio is None else float(bundle.amount_ratio),
        "metrics": {name: float(value) for name, value in bundle.metrics.items()},
        "metadata": {
            "as_of": bundle.metadata.as_of.isoformat(),
            "data_fingerprint": bundle.metadata.data_fingerprint,
            "code_version": bundle.metadata.code_version,
            "label_policy": dict(bundle.metadata.label_policy),
            "seeds": dict(bundle.metadata.seeds),
            "notes": dict(bundle.metadata.notes),
        },
    }
    arrays = {
        **{f"{form}.{name}": array for name, array in bundle.form.arrays().items()},
        "calibration.draws": bundle.calibration.draws,
        **(
            {}
            if bundle.calibration.unseen is None
            else {"calibration.unseen": bundle.calibration.unseen.draws}
        ),
        **{
            name: array
            for part in bundle.long_horizons
            for name, array in _long_horizon_arrays(part).items()
        },
        **{name: array for part in bundle.shares for name, array in _share_arrays(part).items()},
        "golden.matrix": bundle.golden.matrix,
        "golden.raw": bundle.golden.raw,
        "reference.levels": bundle.reference.levels,
        "reference.values": bundle.reference.values,
        "reference.missing_rate": bundle.reference.missing_rate,
    }
    if bundle.shares:
        document["shares"] = [
            {
                "horizon": part.horizon,
                "calibration": [
                    float(part.calibration.slope),
                    float(part.calibration.intercepts[0]),
                ],
            }
            for part in bundle.shares
        ]
    if bundle.long_horizons:
        document["later"] = [
            {
                "horizon": part.horizon,
                "slope": float(part.slope),
                "has_form": part.form is not None,
                "calibration": [
                    float(part.calibration.slope),
                    float(part.calibration.intercepts[0]),
                ],
            }
            for part in bundle.long_horizons
        ]
    if bundle.untreated_risk is not None:
        document["untouched"] = untreated_risk_document(bundle.untreated_risk)
        if bundle.untreated_risk.shift is not None:
            treatment = bundle.untreated_risk.shift.treatment.arrays()
            arrays |= {f"{TREATMENT_FORM}{name}": array for name, array in treatment.items()}
    if bundle.renewal_risk is not None:
        risk = bundle.renewal_risk
        document["renewal_risk"] = {
            "leads": list(risk.leads),
            "columns": [risk.calendar.renewal, risk.calendar.months],
        }
        arrays |= {"renewal_risk.parameters": risk.parameters, "renewal_risk.draws": risk.draws}
    if bundle.reason_evidence is not None:
        document["reasons"] = reason_evidence_document(bundle.reason_evidence)
    # No compression: it would tie the bytes to a version of zlib, and save a few hundred kB.
    packed = io.BytesIO()
    # numpy dates every entry 1980-01-01.
    np.savez(packed, allow_pickle=False, **{k: np.ascontiguousarray(a) for k, a in arrays.items()})
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    files = {DOCUMENT: f"{text}\n".encode(), ARRAYS: packed.getvalue()}
    if bundle.model_text is not None:
        files[TEXT] = bundle.model_text.encode()
    return files


def decode(files: Mapping[str, bytes]) -> BundleContents:
    """The contents of the files."""
    for name in (DOCUMENT, ARRAYS):
        if name not in files:
            raise BundleError(f"The bundle lists no {name}; it was not saved by Keepwell.")
    arrays = _arrays(files[ARRAYS])
    try:
        return _fields(json.loads(files[DOCUMENT]), arrays, files.get(TEXT))
    except (TreeStructureError, LinearFormError, CalibrationError, FeatureContractError,
            UntreatedRiskError) as exc:  # fmt: skip
        raise BundleError(f"The bundle is damaged: {exc}") from exc
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BundleError(
            f"The bundle's {DOCUMENT} or {ARRAYS} lacks something or holds it in another form "
            f"({exc!r}). Train the model again."
        ) from exc


def _fields(
    document: dict[str, Any], arrays: Mapping[str, npt.NDArray[Any]], text: bytes | None
) -> BundleContents:
    contract = FeatureContract(
        tuple(
            ContractFeature(name=str(name), digest=str(digest), categories=tuple(categories))
            for name, digest, categories in document["features"]
        )
    )
    if contract.fingerprint != document["fingerprint"]:
        raise BundleError(
            "The bundle's feature contract does not have its recorded fingerprint; the features "
            "were changed after training. Train the model again."
        )
    prefix = f"{document['form']}."
    own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    metadata = document["metadata"]
    amount = document["amount_ratio"]
    return BundleContents(
        label=str(document["label"]),
        contract=contract,
        form=form_named(str(document["form"])).from_arrays(own),
        calibration=Calibration(
            horizons=tuple(int(h) for h in document["calibration"]["horizons"]),
            slope=float(document["calibration"]["slope"]),
            intercepts=tuple(float(a) for a in document["calibration"]["intercepts"]),
            draws=_table(arrays, "calibration.draws", 2),
            unseen=_read_unseen(document["calibration"].get("unseen"), arrays),
        ),
        base_rates={int(h): float(r) for h, r in document["base_rates"].items()},
        not_estimable={int(h): str(why) for h, why in document["not_estimable"].items()},
        long_horizons=tuple(_read_long_horizon(part, arrays) for part in document.get("later", ())),
        shares=tuple(_read_share(part, arrays) for part in document.get("shares", ())),
        untreated_risk=_read_untreated_risk(document.get("untouched"), arrays),
        renewal_risk=_read_renewal_risk(document.get("renewal_risk"), arrays),
        reason_evidence=read_reason_evidence(document.get("reasons")),
        amount_ratio=None if amount is None else float(amount),
        metrics={str(name): float(value) for name, value in document["metrics"].items()},
        metadata=BundleMetadata(**{**metadata, "as_of": datetime.fromisoformat(metadata["as_of"])}),
        reference=ReferenceDistribution(
            levels=_table(arrays, "reference.levels", 1),
            values=_table(arrays, "reference.values", 2),
            missing_rate=_table(arrays, "reference.missing_rate", 1),
        ),
        golden=GoldenRows(
            matrix=_table(arrays, "golden.matrix", 2), raw=_table(arrays, "golden.raw", 1)
        ),
        model_text=None if text is None else text.decode(),
    )


def _read_unseen(
    ends: Sequence[Any] | None, arrays: Mapping[str, npt.NDArray[Any]]
) -> Unseen | None:
    """None: a bundle of before there was a floor."""
    if ends is None:
        return None
    chance, most = map(float, ends)
    return Unseen(chance=chance, most=most, draws=_table(arrays, "calibration.unseen", 1))


def _long_horizon_arrays(part: LongHorizonChance) -> dict[str, npt.NDArray[Any]]:
    own = {} if part.form is None else part.form.arrays()
    return {
        f"later_{part.horizon}.draws": part.calibration.draws,
        **{f"later_{part.horizon}.form.{name}": array for name, array in own.items()},
    }


def _read_long_horizon(
    part: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> LongHorizonChance:
    horizon, (slope, intercept) = int(part["horizon"]), part["calibration"]
    prefix = f"later_{horizon}.form."
    own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return LongHorizonChance(
        slope=float(part["slope"]),
        form=LinearForm.from_arrays(own) if part["has_form"] else None,
        calibration=Calibration(
            horizons=(horizon,),
            slope=float(slope),
            intercepts=(float(intercept),),
            draws=_table(arrays, f"later_{horizon}.draws", 2),
        ),
    )


def _read_renewal_risk(
    document: Mapping[str, Any] | None, arrays: Mapping[str, npt.NDArray[Any]]
) -> RenewalRisk | None:
    if document is None:
        return None
    renewal, months = document["columns"]
    return RenewalRisk(
        leads=tuple(int(lead) for lead in document["leads"]),
        calendar=ContractCalendar(
            renewal=int(renewal), months=None if months is None else int(months)
        ),
        parameters=_table(arrays, "renewal_risk.parameters", 1),
        draws=_table(arrays, "renewal_risk.draws", 2),
    )


def _share_arrays(part: HorizonShare) -> dict[str, npt.NDArray[Any]]:
    return {
        f"share_{part.horizon}.draws": part.calibration.draws,
        **{f"share_{part.horizon}.form.{name}": a for name, a in part.form.arrays().items()},
    }


def _read_share(part: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> HorizonShare:
    horizon, (slope, intercept) = int(part["horizon"]), part["calibration"]
    prefix = f"share_{horizon}.form."
    own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return HorizonShare(
        form=LinearForm.from_arrays(own),
        calibration=Calibration(
            horizons=(horizon,),
            slope=float(slope),
            intercepts=(float(intercept),),
            draws=_table(arrays, f"share_{horizon}.draws", 2),
        ),
    )


def _read_untreated_risk(
    document: Mapping[str, Any] | None, arrays: Mapping[str, npt.NDArray[Any]]
) -> UntreatedRisk | None:
    own = {
        n.removeprefix(TREATMENT_FORM): a for n, a in arrays.items() if n.startswith(TREATMENT_FORM)
    }
    treatment = LinearForm.from_arrays(own) if own else None
    return None if document is None else read_untreated_risk(document, treatment)


def _table(arrays: Mapping[str, npt.NDArray[Any]], name: str, dimensions: int) -> Any:
    array = arrays[name]
    if array.dtype != np.float64 or array.ndim != dimensions:
        raise TypeError(f"{name} is a {array.ndim}-dimensional array of {array.dtype}")
    return array


def _arrays(packed: bytes) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, MemoryError,
            zipfile.BadZipFile, zlib.error, TypeError, AttributeError) as exc:  # fmt: skip
        raise BundleError(
            f"The bundle's {ARRAYS} cannot be read ({exc!r}). Train the model again."
        ) from exc
