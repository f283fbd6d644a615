"""Studies as files: what they hold, and the one line that answers each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from medquorum.simulations.errors import StudyError
from medquorum.simulations.study import STUDIES, bundled, load_study
from medquorum.simulations.terms import PhantomData, TableData

DEMO = (STUDIES / "demo.toml").read_text(encoding="utf-8")


@pytest.fixture
def written(tmp_path):
    """Write a study with some text replaced and return its path."""

    def write(*changes: tuple[str, str]) -> Path:
        text = DEMO
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "study.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_bundled_study_reads(path):
    study = load_study(path)
    assert study.name == path.stem
    assert study.synthetic == (path.stem == "demo")
    assert study.plan.epsilon > 0
    assert study.plan.mode == ("distributed" if path.stem == "mnist" else "local")


def test_the_demo_is_four_phantom_hospitals_that_differ():
    data = load_study(bundled("demo")).data
    assert isinstance(data, PhantomData)
    assert len(data.hospitals) == 4
    assert len({one.vendor for one in data.hospitals}) == 4
    assert len({one.prevalence for one in data.hospitals}) == 4


def test_a_seed_given_overrides_the_files():
    assert load_study(bundled("demo"), seed=77).seed == 77


def test_keys_shown_commented_out_have_the_value_they_take_when_absent(written):
    # "# width = 32   ..." in the demo must mean what leaving width out means.
    plain = load_study(written())
    for line in (
        "# width = 32",
        "# sampling_rate = 1.0",
        "# momentum = 0.0",
        "# accept_overlap = 0.5",
        "# pooled_epochs = 30",
    ):
        spelled = load_study(written((line, line.removeprefix("# ") + " #")))
        assert spelled == plain


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("backbone =", "backbnoe =", "model.backbnoe", "did you mean 'backbone'"),
        ("epsilon = 8.0", "epsilonn = 8.0", "plan.privacy.epsilonn", "did you mean 'epsilon'"),
        ('backbone = "efficientnet_lite0"', 'backbone = "resnet"', "model.backbone", "resnet18"),
        ("rounds = ", "rounds = -", "plan.rounds", "whole number"),
        ('name = "demo"', "name = 3", "study.name", "string"),
        ('vendor = "aurora"', 'vendor = "auror"', "data.hospitals[1].vendor", "did you mean 'aurora'"),
        ("consolidation = 0.35, ", "", "prevalence.consolidation", "missing"),
        ("consolidation = 0.35", "consolidation = 1.35", "prevalence.consolidation", "from 0 to 1"),
        ('key = "effusion"', 'key = "fracture"', "data.kind", "cannot show"),
        ('key = "effusion"', 'key = "consolidation"', "task.findings", "share a key"),
        ('name = "Southquay"', 'name = "Northfield"', "data.hospitals", "two hospitals"),
        ("quorum = 3", "quorum = true", "plan.quorum", "whole number"),
        ('regions = "mask"', 'regions = "polygon"', "readers.regions", "must be one of"),
        ("alone = true", 'alone = "yes"', "compare.alone", "true or false"),
        ("[readers]", "[reader]", "reader", "did you mean 'readers'"),
    ],
)
def test_a_mistake_is_one_line_naming_file_key_and_fix(written, old, new, key, said):
    path = written((old, new))
    with pytest.raises(StudyError) as caught:
        load_study(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line and key in line and said in line and "Fix: " in line


def test_text_that_is_no_toml_or_no_text_is_said(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text("[study\n")
    with pytest.raises(StudyError, match="not valid TOML"):
        load_study(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="UTF-8"):
        load_study(path)
    with pytest.raises(StudyError, match="no such study"):
        load_study(tmp_path / "absent.toml")
    with pytest.raises(StudyError, match="did you mean 'demo'"):
        bundled("demmo")


def test_every_key_of_the_demo_is_explained():
    # Each key's first line carries a comment, or stands right below one.
    seen: set[str] = set()
    before = ""
    for line in DEMO.splitlines():
        key = line.split("=")[0].strip()
        if "=" in line and not line.startswith("#") and key not in seen:
            assert (
                "#" in line
                or before.startswith("#")
                or key in ("name", "key", "scheme", "code", "meaning", "description")
            ), key
            seen.add(key)
        before = line


def test_a_table_study_needs_the_columns_that_its_other_keys_ask_for(tmp_path):
    text = (STUDIES / "mri_brain_lesion.toml").read_text(encoding="utf-8")
    path = tmp_path / "study.toml"
    path.write_text(text.replace('site = "site"\n', ""), encoding="utf-8")
    with pytest.raises(StudyError, match=r"data\.columns\.site"):
        load_study(path)
    path.write_text(text.replace('mask = "mask"\n', ""), encoding="utf-8")
    with pytest.raises(StudyError, match=r"data\.columns\.mask"):
        load_study(path)
    path.write_text(text, encoding="utf-8")
    assert isinstance(load_study(path).data, TableData)


def test_sides_make_findings_of_their_own(written):
    sided = (
        ('meaning = "Pleural effusion"', 'meaning = "Pleural effusion"\nsides = ["L", "R"]'),
        ("effusion = 0.25", "effusion_left = 0.25, effusion_right = 0.1"),
        ("effusion = 0.15", "effusion_left = 0.15, effusion_right = 0.1"),
        ("effusion = 0.40", "effusion_left = 0.40, effusion_right = 0.1"),
        ("effusion = 0.35", "effusion_left = 0.35, effusion_right = 0.1"),
    )
    study = load_study(written(*sided))
    assert study.task.keys == ("consolidation", "effusion_left", "effusion_right")
    assert [one.laterality for one in study.task.findings] == ["", "L", "R"]
    assert study.plan.finding_weights == (1.0, 1.0, 1.0)
    with pytest.raises(StudyError, match="sides of finding 'effusion'"):
        load_study(written(*sided[1:], (sided[0][0], sided[0][1].replace('"R"', '"B"'))))


def test_two_sides_are_not_read_from_one_column(tmp_path):
    text = (STUDIES / "cxr_adult.toml").read_text(encoding="utf-8")
    assert text.count("[[task.findings]]") == 1
    path = tmp_path / "study.toml"
    path.write_text(text.replace("[[task.findings]]", '[[task.findings]]\nsides = ["L", "R"]'), encoding="utf-8")
    with pytest.raises(StudyError, match=r"task.findings\[1\].sides: both sides would be read from one column"):
        load_study(path)
