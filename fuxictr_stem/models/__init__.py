"""The models, one file for each and its variants, on FuxiCTR's `MultiTaskModel`.

Each is a `base.MultiTaskNet`, which holds tasks, losses and towers. `features` embeds a batch: it reads the
feature map, `encoders` and `expressions` (FuxiCTR's ``feature_encoder`` and initializers, never evaluated)
and `pretrained_vectors`, and places and sets up the tables of `layers`. `nested_labels` says which labels
are nested, `part_owners` which task a table, gate or expert is for; `weight_parts` cuts weights into parts
that `initial_weights` takes over from another model.
"""

from fuxictr_stem.models.aitm import AITM
from fuxictr_stem.models.base import MultiTaskNet
from fuxictr_stem.models.esmm import ESMM
from fuxictr_stem.models.mmoe import MEMMoE, MMoE, OMoE
from fuxictr_stem.models.ple import MEPLE, PLE
from fuxictr_stem.models.shared_bottom import SharedBottom
from fuxictr_stem.models.stem_al import STEMAL
from fuxictr_stem.models.stemnet import STEMNet

__all__ = [
    "AITM",
    "ESMM",
    "MEMMoE",
    "MEPLE",
    "MMoE",
    "MultiTaskNet",
    "OMoE",
    "PLE",
    "STEMAL",
    "STEMNet",
    "SharedBottom",
]
