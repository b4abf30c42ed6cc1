"""examples/small_networks.py: what it says to whoever does not know it yet."""

import importlib.util

import pytest
from running import EXAMPLES

spec = importlib.util.spec_from_file_location("small_networks", EXAMPLES / "small_networks.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


def words(text):
    return " ".join(text.split())


def test_help_names_the_networks(capsys):
    with pytest.raises(SystemExit) as stopped:
        module.parse_arguments(["--help"])
    assert stopped.value.code == 0
    said = words(capsys.readouterr().out)
    assert "of depth: plain-20, plain-56, residual-56; of minutes: AlexNet, ZFNet, VGG-11, " in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures"], "the following arguments are required: {depth,minutes}"),
        (["pictures", "dept"], "argument {depth,minutes}: invalid choice: 'dept'"),
        (["pictures", "depth", "--networks", "AlexNet"], "'AlexNet' is not one of plain-20, plain-56, residual-56"),
    ],
)  # fmt: skip
def test_what_it_does_not_know_it_says_with_what_it_knows(capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        module.parse_arguments(arguments)
    assert stopped.value.code == 2
    assert message in words(capsys.readouterr().err)
