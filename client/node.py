"""A node: one hospital's folder (store, ledger, policy, releases, agreements), open in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from ..privacy.ledger import Ledger
from .aggregation import SiteSide
from .agreements import Agreements
from .benches import Benches
from .errors import NodeError
from .federation import Federation
from .policy import Policy
from .releases import Releases
from .rights import SimulationRights
from .store import Store
from .trust import Trust
from .witnesses import LedgerWitness, Witnesses

Kind = Literal["query", "train", "evaluate"]


class Node:
    """One hospital's node. Use `create` once and `open` ever after; close it, or use it as a context manager.

    store, ledger, policy and releases are the node's rooms, for whoever works inside the hospital; `answer` is the
    one door for the coordinator's messages. benches: workbenches that are not built from the store (default: those that
    are), for whoever simulates many trainings on the same images.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        ledger: Ledger,
        policy: Policy,
        simulation: SimulationRights | None,
        side: SiteSide | None,
        trust: Trust | None,
        benches: Benches | None = None,
    ) -> None:
        self.folder = folder
        self.store = store
        self.ledger = ledger
        self.policy = policy
        self.releases = Releases(folder / "releases")
        self.site = store.setting("site")
        self._agreements = Agreements(folder / "agreements.sqlite")
        witness = LedgerWitness(self.site, ledger, Witnesses(folder / "witnesses.sqlite"), policy.witnesses)
        self._federation = Federation(
            self.site,
            store,
            ledger,
            policy,
            self._agreements,
            witness,
            self.releases,
            simulation,
            side,
            trust,
            benches,
            store.trail,
        )

    @classmethod
    def create(
        cls,
        folder: Path,
        site: str,
        policy: Policy | None = None,
        *,
        epsilon_cap: float = 16.0,
        delta: float = 1e-4,
        held_out_share: float = 0.2,
        simulation: SimulationRights | None = None,
        side: SiteSide | None = None,
    ) -> Self:
        """Lay out a new node for `site` in `folder` and open it.

        epsilon_cap: the bound on the epsilons of all plans ever, kept by the ledger. delta: the largest that one plan
        may have. held_out_share: share of patients, drawn when they arrive, that is never trained on. simulation,
        side: as for `open`. Raises NodeError when the folder holds a node already.
        """
        if (folder / "policy.toml").exists():
            raise NodeError("the folder holds a node already", where=str(folder), fix="open it, or choose another")
        folder.mkdir(parents=True, exist_ok=True)
        policy = policy or Policy()
        Store.create(folder / "store", site, held_out_share, audited=simulation is None).close()
        Ledger.create(folder / "ledger.sqlite", site, epsilon_cap, delta)
        policy.write(folder / "policy.toml")
        return cls.open(folder, simulation, side)

    @classmethod
    def open(
        cls,
        folder: Path,
        simulation: SimulationRights | None = None,
        side: SiteSide | None = None,
        trust: Trust | None = None,
    ) -> Self:
        """Open the node in `folder`.

        simulation: given only by whoever simulates a hospital; without it the node answers no plain sum, no exact
        evaluation and no plan without privacy. side: the site's side of aggregation; without one, the plain sum
        under simulation rights and nothing otherwise. trust: whom the node believes and as whom it speaks; without it
        the node countersigns plans only under simulation rights. Raises NodeError when the folder holds no node.
        """
        if not (folder / "policy.toml").is_file():
            raise NodeError("the folder holds no node", where=str(folder), fix="create one first")
        policy = Policy.read(folder / "policy.toml")
        store = Store.open(folder / "store", audited=simulation is None)
        try:
            ledger = Ledger.open(folder / "ledger.sqlite", store.setting("site"))
        except BaseException:
            store.close()
            raise
        return cls(folder, store, ledger, policy, simulation, side, trust)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every room."""
        self._agreements.close()
        self.store.close()

    def answer(self, kind: Kind, body: bytes) -> bytes:
        """Answer one of the coordinator's messages with canonical bytes.

        kind: "query" (Greeting -> Introduction, Invitation -> Countersignature), "train" (Step for an update ->
        StepAnswer), "evaluate" (Step for an evaluation -> StepAnswer). Whatever goes wrong after the message is
        understood is said in the answer (reason, refusal), without data. Raises WireError for bytes that are not a
        message of this kind.
        """
        return self._federation.answer(kind, body)
