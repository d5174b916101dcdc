"""Options: whose word counts, and that nothing that is given is ignored without a word."""

import json
from pathlib import Path

import pytest
import yaml
from training.options import KITCHEN, ModelOptions, complete_models, parse_options

CONFIGS = KITCHEN.parent
ROWS = ["--corpus=rows", "--processor=folder"]


def test_rows_that_contradict_are_refused(capsys):
    """Rows mean nothing without the processor that made them."""
    with pytest.raises(SystemExit):
        parse_options(["--corpus", "rows"])
    assert "--corpus needs --processor" in capsys.readouterr().err


def test_cards_tell_codes_of_languages():
    """Whisper also knows names, with which the Hub would refuse the card when all is done."""
    for language, task, written in (
        ("German", None, "de"),
        ("de", None, "de"),
        (None, None, None),
        ("de", "translate", "en"),
    ):
        models = ModelOptions(language=language, asr_task=task)
        complete_models(models)
        assert models.written_language() == written
    with pytest.raises(ValueError, match="knows no language 'klingon'"):  # before anything is done
        complete_models(ModelOptions(language="klingon"))


@pytest.mark.parametrize("source", ["", "--corpus rows --processor folder"])
@pytest.mark.parametrize("option", ["--language de", "--asr_engine faster-whisper", "--subtitles none"])
def test_options_of_hearing_without_videos_are_refused(source, option, capsys):
    """Neither the kitchen nor rows are heard with them; nobody should believe that they were."""
    with pytest.raises(SystemExit):
        parse_options([*source.split(), *option.split()])
    assert f"{option.split()[0]} is about how --videos are heard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--videos v --residual_codes 0", "residual_codes is 0; a clip has at least 1 visual id"),
        ("--videos v --residual_codes 2 --levels_as_tokens", "residual_codes is 2 and levels_as_tokens is True"),
        ("--videos v --branches 1", "levels=4, branches=1: a codebook has at least 1 level and 2 branches"),
        ("--corpus r --processor p --residual_codes 2", "--residual_codes is about a codebook that is fitted"),
        ("--features f --clip_seconds 1 --codebook c --levels_as_tokens", "has no effect on that of --codebook"),
        ("--levels 2", "it has no effect on the kitchen's"),
    ],
)
def test_codes_that_cannot_be_or_have_no_effect_are_refused(words, sentence, capsys):
    """Before videos are described for hours; and nobody should believe that rows were made anew."""
    with pytest.raises(SystemExit):
        parse_options(words.split())
    assert sentence in capsys.readouterr().err
    options = parse_options(["--features=f", "--clip_seconds=1", "--residual_codes=4", "--levels=1"])
    assert (options.tree.residual_codes, options.tree.levels_as_tokens) == (4, False)


def test_defaults_are_the_paper_s_and_the_kitchen_has_its_own():
    """The recipe's numbers where it gives them; the embedded default learns in minutes."""
    paper, kitchen = parse_options(ROWS), parse_options([])
    assert (paper.optimisation.max_steps, paper.optimisation.batch_size) == (500_000, 128)
    assert (paper.optimisation.learning_rate, paper.tree.levels, paper.tree.branches) == (1e-5, 4, 12)
    assert paper.models.freeze_input_embeddings and paper.segments.max_step == 5
    assert (kitchen.optimisation.max_steps, kitchen.optimisation.learning_rate) == (800, 6e-4)
    assert not kitchen.models.freeze_input_embeddings and kitchen.objectives.mixture == [0.1, 0.1, 0.8]


def test_command_line_stands_above_the_file_and_the_file_above_the_kitchen(tmp_path):
    """And a number that YAML reads as a word (`1e-3`) is a number all the same."""
    path = tmp_path / "options.yaml"
    path.write_text("learning_rate: 1e-3\nmax_steps: 7\njoint_cloze: false\nmixture: [1, 2, 3]\nlanguage: null\n")
    options = parse_options([f"--config={path}", "--max_steps=9"])
    assert (options.optimisation.learning_rate, options.optimisation.max_steps) == (1e-3, 9)
    assert options.objectives.mixture == [1.0, 2.0, 3.0] and options.objectives.joint_cloze is False
    assert options.segments.max_length == 96


def test_a_json_file_may_name_the_source(tmp_path):
    """Then the kitchen's values do not apply."""
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"corpus": "rows", "processor": "folder"}))
    options = parse_options([f"--config={path}"])
    assert options.data.corpus == Path("rows") and options.segments.max_length == 512
    assert options.running.output_dir == Path("runs/rows")


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("nonsense: 3", "holds 'nonsense', which is no option"),
        ("- max_steps", "holds a list; allowed is a mapping"),
        ("max_steps: [", "cannot be read"),
        ("max_steps: many", "invalid int value: 'many'"),
        ("layout: round", "invalid choice: 'round'"),
        ("batch_size: 0", "--batch_size is 0; it must be at least 1"),
        ("mixture: [1, 2]", "--mixture has 2 numbers"),
        ("early_stopping: 3", "--early_stopping needs --metric_for_best_model"),
    ],
)
def test_a_file_is_checked_as_the_command_line_is(tmp_path, capsys, text, complaint):
    """A misspelt option in a file must not train another model for a week."""
    path = tmp_path / "options.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit):
        parse_options([f"--config={path}", *ROWS])
    assert complaint in capsys.readouterr().err


def test_a_tracker_that_is_missing_is_named(monkeypatch, capsys):
    """Accelerate would leave it out without a word, and a week's curves with it."""
    monkeypatch.setattr("training.options.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        parse_options(["--report_to=trackio"])
    assert "--report_to trackio needs the package trackio" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["paper", "one_gpu", "kitchen"])
def test_configs_that_come_with_it_are_understood(name):
    """Each value of each file arrives."""
    path = CONFIGS / f"{name}.yaml"
    values = (
        parse_options([f"--config={path}", *ROWS])
        if name != "paper"
        else parse_options([f"--config={path}", "--videos=folder"])
    )
    found = values.as_dict() | {"mixture": values.objectives.mixture}
    for option, value in yaml.safe_load(path.read_text()).items():
        assert found[option] == value


def test_alignment_begins_at_a_step_or_after_a_share():
    """0.5 of 750 steps is step 375; 400 is step 400."""
    assert parse_options(["--alignment_start=0.5", "--max_steps=750"]).alignment_step() == 375
    assert parse_options(["--alignment_start=400"]).alignment_step() == 400
    assert parse_options(ROWS).alignment_step() == 0


@pytest.mark.parametrize(
    "words, complaint",
    [
        ("--features f --videos v --clip_seconds 1", "--videos and --features exclude each other"),
        ("--features f", "--clip_seconds is None; --features need the seconds"),
        ("--features f --clip_seconds 0", "--clip_seconds is 0.0; --features need"),
        ("--features f --clip_seconds 1 --backbone b", "--backbone has no effect on --features"),
        ("--features f --clip_seconds 1 --asr_model a", "--asr_model has no effect on --features"),
        ("--videos v --clip_seconds 1", "--clip_seconds is about --features"),
    ],
)
def test_features_are_neither_heard_nor_looked_at(words, complaint, capsys):
    with pytest.raises(SystemExit):
        parse_options(words.split())
    assert complaint in capsys.readouterr().err


def test_features_bring_no_networks_with_them():
    options = parse_options("--features some/s3d --clip_seconds 1 --language de".split())
    assert options.models.asr_model is None and options.models.backbone is None
    assert options.models.text_model and options.running.output_dir.name == "s3d"
