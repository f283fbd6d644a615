"""Studies so small that they train in seconds: two phantom hospitals, or a folder of generated PNG files and a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from medquorum.simulations.study import Study, load_study

STUDY = """
[study]
name = "tiny"
seed = 3
[data]
kind = "phantoms"
[[data.hospitals]]
name = "One | <b>"
patients = 12
vendor = "aurora"
visibility = 2.0
damaged = 0.1
prevalence = { consolidation = 0.5 }
[[data.hospitals]]
name = "Two"
patients = 12
vendor = "borealis"
visibility = 2.0
prevalence = { consolidation = 0.5 }
[sites]
held_out = 0.4
nominal_rounding = 2
[task]
modality = "CR"
[[task.findings]]
key = "consolidation"
scheme = "SCT"
code = "95436008"
meaning = "Lung consolidation"
[model]
backbone = "small"
width = 8
size = 32
[plan]
rounds = 2
local_steps = 2
quorum = 2
learning_rate = 0.05
[plan.privacy]
epsilon = 6.0
delta = 0.01
[readers]
regions = "mask"
[compare]
pooled_epochs = 2
"""

PICTURES = """
[study]
name = "pictures"
seed = 1
[data]
kind = "table"
[data.columns]
subgroups = ["sex", "age"]
[sites]
partition = "iid"
names = ["North", "South"]
nominal_rounding = 2
[task]
modality = "DX"
[[task.findings]]
key = "spot"
scheme = "SCT"
code = "263654008"
meaning = "Abnormal"
column = "spot"
present = ["1"]
absent = ["0"]
[model]
backbone = "small"
width = 8
size = 32
[plan]
rounds = 2
quorum = 2
learning_rate = 0.5
region_weight = 0.0
[plan.privacy]
epsilon = 8.0
delta = 0.01
[compare]
pooled_epochs = 2
"""


def tiny(folder: Path, *changes: tuple[str, str], text: str = STUDY, seed: int | None = None) -> Study:
    """The study read from `folder`/study.toml, where it is written with some of its text replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return load_study(path, seed)


def pictures(folder: Path, patients: int = 32, images: int = 2) -> Path:
    """A folder of PNG files (40 x 48) and labels.csv: every other patient has a bright spot; each patient's images are
    darker, noisier and blurrier than the last one's. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    lines = ["file,patient_id,spot,sex,age"]
    for patient in range(patients):
        for number in range(images):
            grey = 150.0 - 2.0 * patient + generator.normal(0.0, 1.0 + 0.5 * patient, (40, 48))
            if patient % 2:
                grey[12:22, 14:28] += 60.0
            name = f"images/p{patient:03}-{number}.png"
            (folder / "images").mkdir(exist_ok=True)
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(folder / name)
            lines.append(f"{name},p{patient:03},{patient % 2},{'FM'[patient // 2 % 2]},{20 + 2 * patient}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
