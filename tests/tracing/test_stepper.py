"""The page of trace.to_html: what is in it, and what a reader sees who clicks through it in headless Chromium."""

import base64
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import minialex as mx
from minialex.tracing import stepper

# ---- the page as text ----


def tiny():
    """A network of small whole numbers, and its trace."""
    model = mx.Sequential(
        conv1=mx.Conv2D(1, 1, 2),
        relu1=mx.ReLU(),
        pool1=mx.MaxPool2D(2, 1),
        flatten=mx.Flatten(),
        fc=mx.Linear(4, 3),
    )
    model["conv1"].weight.value[:] = [[[[1, -2], [0, 3]]]]
    model["conv1"].bias.value[:] = 1
    model["fc"].weight.value[:] = [[1, 0, 2, -1], [0, 1, 0, 0], [1, 1, 0, 0]]
    x = np.array([[1, 0, 2, 1], [2, 1, 0, 3], [0, 1, 1, 0], [3, 0, 2, 1]], np.float32)[None, None]
    return mx.trace(model, x, [1], loss=mx.SoftmaxCrossEntropy())


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def array_of(data, part):
    values = np.frombuffer(base64.b64decode(data["arrays"][part["data"]]), "<f4")
    return values.reshape(part["shape"])


def test_the_steps_go_forward_layer_by_layer_and_back_again():
    data = data_of(stepper.page(tiny()))
    layers = ["conv1", "relu1", "pool1", "flatten", "fc", "loss"]
    assert [(s["layer"], s["direction"]) for s in data["steps"]] == [
        *((name, "forward") for name in layers), *((name, "backward") for name in reversed(layers)),
    ]  # fmt: skip


def test_the_page_has_the_numbers_of_the_trace():
    found = tiny()
    data = data_of(stepper.page(found))
    seen = set()
    for step in data["steps"]:
        for part in step["parts"].values():
            entry = found[part["name"]]
            expected = entry.array[0] if entry.batched else entry.array
            np.testing.assert_array_equal(
                array_of(data, part), expected.astype(np.float32), err_msg=entry.name
            )
            seen.add(entry.name)
    assert {"conv1.grad_columns", "relu1.mask", "pool1.winner", "fc.grad_weight", "loss.softmax"} <= seen
    assert len(set(data["arrays"])) == len(data["arrays"])  # conv1.y is relu1.x, and is there once


def test_large_arrays_are_cut_and_the_page_says_how_large_they_are():
    layer = mx.Conv2D(20, 18, 3)
    x = np.random.default_rng(0).standard_normal((2, 20, 90, 100), dtype=np.float32)
    found = mx.trace(layer, x, grad_y=np.ones((2, 18, 88, 98), np.float32))
    data = data_of(stepper.page(found))
    forward, backward = (step["parts"] for step in data["steps"])
    assert (forward["padded"]["shape"], forward["padded"]["full"]) == ([16, 64, 64], [20, 90, 100])
    assert forward["y"]["shape"] == [16, 62, 62]  # positions whose window lies inside what is shown
    assert forward["weight"]["shape"] == [16, 16, 3, 3]
    channels = backward["grad_columns"]["shape"][0] // 9
    assert backward["grad_columns"]["shape"][1] == 62 * 62
    expected = found["grad_columns"].array[0].reshape(20, 9, 88, 98)[:channels, :, :62, :62]
    np.testing.assert_array_equal(array_of(data, backward["grad_columns"]).ravel(), expected.ravel())


def test_a_page_that_would_be_too_large_shows_fewer_channels_or_is_refused(monkeypatch):
    x = np.random.default_rng(0).standard_normal((1, 16, 8, 8), dtype=np.float32)
    found = mx.trace(mx.ReLU(), x)
    monkeypatch.setattr(stepper, "BUDGET", 9_000)
    assert data_of(stepper.page(found))["steps"][0]["parts"]["x"]["shape"] == [8, 8, 8]
    monkeypatch.setattr(stepper, "BUDGET", 100)
    with pytest.raises(
        ValueError, match=r"with 1 channel of each array the page would have .* more than 100"
    ):
        stepper.page(found)


def test_a_name_cannot_end_the_script_that_it_stands_in():
    name = "</script><b>&amp;"
    page = stepper.page(mx.trace(mx.Sequential(**{name: mx.ReLU()}), np.ones((1, 2), np.float32)))
    assert name not in page
    assert data_of(page)["steps"][0]["layer"] == name


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    path = tiny().to_html(tmp_path / "tiny.html")
    page = path.read_text(encoding="utf8").replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"https?:|src=|@import|url\(|fetch\(|XMLHttpRequest|import\(", page)
    assert re.findall(r'href="([^"]*)"', page) == ["data:,"]
    assert "__" not in page


def test_the_files_of_the_page_are_shipped_with_the_package():
    folder = Path(stepper.__file__).parent
    pyproject = (folder.parents[1] / "pyproject.toml").read_text(encoding="utf8")
    patterns = re.findall(r'"(.*?)"', re.search(r"^minialex = \[(.*)\]$", pyproject, re.M)[1])
    shipped = {path.name for pattern in patterns for path in folder.parent.glob(pattern)}
    assert {"stepper.html", *stepper.SCRIPTS} <= shipped


def blocks():
    """A residual block with a projection, two dense layers, an Inception block and an exit: of whole numbers."""
    norm = mx.BatchNorm2D(2)
    residual = mx.Branches({"shortcut": mx.Conv2D(2, 2, 1, bias=False), "body": norm}, merge="add")
    dense = mx.Dense(first=mx.Conv2D(2, 1, 1, bias=False), second=mx.Conv2D(3, 1, 1, bias=False))
    paths = {f"branch{n}": mx.Sequential(mx.Conv2D(4, n, 1, bias=False), mx.ReLU()) for n in (1, 2, 3)}
    head = mx.Sequential(mx.Flatten(), mx.Linear(36, 3))
    trunk = {
        "residual": residual, "dense": dense, "inception": mx.Branches({**paths, "branch_pool": mx.MaxPool2D(3, 1, 1)}),
        "flat": mx.Flatten(), "fc": mx.Linear(90, 3),
    }  # fmt: skip
    model = mx.Exits(trunk, heads={"early": ("dense", head)})
    x = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3) % 7 - 3
    return mx.trace(model, x, [0, 1], loss=mx.ExitLoss((0.5, 1.0)))


def test_a_block_comes_after_its_paths_and_before_them_on_the_way_back():
    steps = data_of(stepper.page(blocks()))["steps"]
    forward = [step["layer"] for step in steps if step["direction"] == "forward"]
    assert forward[:6] == [
        "residual.shortcut",
        "residual.body",
        "residual",
        "dense.first",
        "dense.second",
        "dense",
    ]
    assert forward.index("early.1") < forward.index("inception.branch1.0") < forward.index("inception")
    assert [step["layer"] for step in steps if step["direction"] == "backward"] == forward[::-1]


def test_the_page_says_how_arrays_are_joined():
    data = data_of(stepper.page(blocks()))
    joins = {
        (s["layer"], s["direction"]): [(j["how"], j["whole"], len(j["parts"])) for j in s["joins"]]
        for s in data["steps"]
    }
    assert joins["residual", "forward"] == [("add", "y", 2)]
    assert joins["residual", "backward"] == [("share", "grad_y", 2), ("add", "grad_x", 2)]
    assert joins["dense", "forward"] == [("concat", "y", 3)]
    assert joins["inception", "forward"] == [("concat", "y", 4)]
    assert joins["inception", "backward"] == [("concat", "grad_y", 4), ("add", "grad_x", 4)]
    assert joins["residual.body", "forward"] == joins["inception.branch1.1", "forward"] == []
    norm = next(s for s in data["steps"] if s["layer"] == "residual.body")
    assert (len(norm["parts"]), norm["more"]) == (11, 0)
    back = next(s for s in data["steps"] if (s["layer"], s["direction"]) == ("residual.body", "backward"))
    assert back["parts"]["through_mean"]["shape"] == [2]  # it is (1, 2, 1, 1)


def test_what_is_joined_is_told_by_its_numbers():
    one, two = np.ones((1, 2, 2)), np.full((1, 2, 2), 2.0)
    assert stepper.joined(np.concatenate([one, two]), [one, two]) == "concat"
    assert stepper.joined(one + two, [one, two]) == "add"
    assert stepper.joined(one, [one, one]) == "share"
    assert stepper.joined(two, [one, two]) == stepper.joined(one[0], [one, two]) == ""
    assert stepper.joined(0 * one, [0 * one, 0 * one]) == ""  # zeros are the sum of all zeros


def test_arrays_that_have_no_room_are_counted():
    class Many(mx.Layer):
        def forward(self, x):
            parts = [x + i for i in range(14)]
            return sum(parts)

    step = data_of(stepper.page(mx.trace(Many(), np.ones((1, 2), np.float32))))["steps"][0]
    assert (len(step["parts"]), step["more"]) == (12, 4)
    assert list(step["parts"])[-1] == "y"


# ---- the page in a browser ----


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    size = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    yield chrome
    chrome.quit()


class Reader:
    """Somebody in front of the page."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.get_log("browser")  # what was said before does not count
        browser.get(path.as_uri())

    def text(self, name):
        return self.browser.find_element("id", name).text

    def click(self, name):
        self.browser.find_element("id", name).click()

    def press(self, key):
        self.browser.find_element("tag name", "body").send_keys(key)

    def lit(self, part):
        """What is lit in an array: (row, column, rows, columns) each."""
        frames = self.browser.find_elements("css selector", f'figure[data-part="{part}"] rect.lit')
        return [
            tuple(int(f.get_attribute(f"data-{a}")) for a in ("row", "col", "rows", "cols")) for f in frames
        ]

    def numbers(self, part):
        texts = self.browser.find_elements("css selector", f'figure[data-part="{part}"] text')
        return [text.text for text in texts]

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]


MISPLACED = """  // what is cut off, overlaps, or overflows on this screen
    const wrong = [], foot = document.querySelector("footer").getBoundingClientRect();
    const boxes = [...document.querySelectorAll("figure")].map((f) => f.getBoundingClientRect());
    boxes.forEach((b, i) => {
        if (b.left < 0 || b.right > innerWidth || b.bottom > foot.top) wrong.push(`figure ${i} is cut off`);
        for (const a of boxes.slice(0, i))
            if (a.right > b.left && a.bottom > b.top) wrong.push(`figure ${i} overlaps one before it`);
    });
    if (foot.bottom > innerHeight) wrong.push("the page is higher than the screen");
    if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page is wider than the screen");
    const e = document.getElementById("arithmetic");
    if (e.scrollHeight > e.clientHeight + 2) wrong.push(`arithmetic does not fit: ${e.textContent}`);
    const lines = document.getElementById("formula"); // it may scroll down, but not sideways
    if (lines.scrollWidth > lines.clientWidth) wrong.push(`lines are too wide: ${lines.textContent}`);
    if (lines.getBoundingClientRect().bottom > document.getElementById("panels").getBoundingClientRect().top)
        wrong.push("lines lie over the panels");
    return wrong;
"""


@pytest.fixture
def reader(browser, tmp_path):
    return Reader(browser, tiny().to_html(tmp_path / "tiny.html"))


@pytest.mark.browser
def test_the_window_its_column_and_its_cell_are_lit_together(reader):
    assert reader.text("title").startswith("conv1 forward")
    for _ in range(5):
        reader.click("after")
    assert reader.text("where") == "position (1, 2)"
    assert reader.lit("padded") == [(1, 2, 2, 2)]
    assert reader.lit("columns") == [(0, 5, 4, 1)]
    assert reader.lit("y") == [(1, 2, 1, 1)]
    assert reader.text("arithmetic") == "map 0: 0·1 + 3·(−2) + 1·0 + 0·3 = −6\ny[0, 1, 2] = −6 + bias 1 = −5"
    assert reader.numbers("y") == "5 −3 10 4 5 −5 −1 6 5".split()
    assert reader.numbers("columns")[:9] == "1 0 2 2 1 0 0 1 1".split()
    reader.click("before")
    assert reader.lit("padded") == [(1, 1, 2, 2)]


@pytest.mark.browser
def test_the_way_back_shows_where_each_gradient_goes(reader):
    reader.browser.execute_script("go(data.steps.length - 1); move(2)")
    assert reader.text("title").startswith("conv1 backward")
    assert reader.lit("grad_y") == [(0, 2, 1, 1)]
    assert reader.lit("grad_columns") == [(0, 2, 4, 1)]
    assert reader.lit("grad_x") == [(0, 2, 2, 2)]
    assert "it is added to grad_x[0, 0, 2]" in reader.text("arithmetic")
    lines = [line.text for line in reader.browser.find_elements("css selector", "#formula li")]
    entry = tiny()["conv1.grad_columns"]
    assert f"{entry.lines[0][0]}{entry.formula}" in [re.sub(r"\s+", " ", line) for line in lines]
    assert re.sub(r"\s+", " ", lines[-1]).endswith("return unpad(grad_padded, self.padding) → grad_x")


@pytest.mark.browser
def test_pooling_lights_the_winner_inside_its_window(reader):
    reader.click("next")
    reader.click("next")
    assert reader.text("title").startswith("pool1 forward")
    reader.click("after")  # the window 0 10 / 5 0
    assert reader.lit("padded") == [(0, 1, 2, 2), (0, 2, 1, 1)]
    assert reader.lit("y") == [(0, 1, 1, 1)]
    assert reader.text("arithmetic") == "max(0, 10, 5, 0) = 10\ncell 1 wins"


@pytest.mark.browser
def test_a_linear_layer_multiplies_its_input_by_a_row_of_its_weight(reader):
    reader.browser.execute_script("go(4)")
    assert reader.text("title").startswith("fc forward")
    assert reader.text("arithmetic") == "y[0] = x·weight[0] + bias = 5·1 + 10·0 + 6·2 + 6·(−1) + bias 0 = 11"
    reader.click("after")
    assert (reader.numbers("weight"), reader.lit("y")) == (["0", "1", "0", "0"], [(0, 1, 1, 1)])


@pytest.mark.browser
def test_keys_and_clicks_into_y_do_what_the_buttons_do(reader):
    reader.press("\ue014")  # right
    assert reader.text("count") == "2 of 12"
    reader.press("\ue015")  # down
    assert reader.text("where") == "pixel (0, 1)"
    assert reader.text("arithmetic") == "x = −3    mask = 0    y = 0"
    reader.press("\ue013")  # up
    reader.press("\ue012")  # left
    assert (reader.text("count"), reader.text("where")) == ("1 of 12", "position (0, 0)")
    reader.browser.find_element("css selector", 'figure[data-part="y"] .grid').click()  # its middle
    assert reader.text("where") == "position (1, 1)"
    reader.browser.find_element("css selector", '.track button[data-step="11"]').click()
    assert reader.text("title").startswith("conv1 backward")


@pytest.mark.browser
def test_joins_and_the_numbers_of_a_channel_are_lit_and_said(browser, tmp_path):
    found = blocks()
    reader = Reader(browser, found.to_html(tmp_path / "page.html"))

    def at(layer, direction, channel=0, position=0):
        browser.execute_script(
            f"""state.map = {channel};
            go(data.steps.findIndex((s) => s.layer === "{layer}" && s.direction === "{direction}")); move({position})"""
        )
        return reader.text("arithmetic").splitlines()

    assert at("inception", "forward", channel=4)[0].startswith("y[4, 0, 0] is ys[branch3][1, 0, 0] = ")
    assert reader.text("arithmetic").endswith("(1 + 2 + 3 + 4 = 10 maps, one behind the other)")
    assert (reader.lit("ys[branch3]"), reader.lit("ys[branch2]")) == ([(0, 0, 1, 1)], [])
    assert at("inception", "backward", 1)[0].startswith("grad_y[1, 0, 0] is grad_ys[branch2][0, 0, 0] = ")
    assert at("residual", "forward", 1, 4)[-1].startswith("y[1, 1, 1] = ys[shortcut] + ys[body] = ")
    assert "goes to each path, whole" in at("residual", "backward")[0]
    at("residual.body", "forward", channel=1, position=5)
    assert (reader.lit("mean"), reader.lit("centred"), reader.lit("y")) == (
        [(0, 1, 1, 1)], [(1, 2, 1, 1)], [(1, 2, 1, 1)]
    )  # fmt: skip
    at("Exits", "forward")
    assert (reader.lit("ys[early]"), reader.lit("ys[end]"), reader.lit("x")) == (
        [(0, 0, 1, 1)],
        [(0, 0, 1, 1)],
        [],
    )
    assert reader.complaints() == []


@pytest.mark.browser
@pytest.mark.parametrize("name", ["blocks", "resnet", "densenet", "googlenet"])
def test_networks_that_branch_fit_on_a_projector(browser, tmp_path, name):
    rng = np.random.default_rng(0)
    if name == "blocks":
        found = blocks()
    else:
        settings = {
            "resnet": {"depth": 8, "preset": "cifar", "shortcut": "B", "width": 1 / 4, "image_size": 8},
            "densenet": {"depth": 10, "preset": "small", "width": 1 / 4, "image_size": 8},
            "googlenet": {"width": 1 / 64, "image_size": 64},
        }
        model = getattr(mx.models, name)(num_classes=3, **settings[name])
        side = model.input.crop
        found = mx.trace(model, rng.standard_normal((2, 3, side, side), dtype=np.float32), [0, 2])
    reader = Reader(browser, found.to_html(tmp_path / "page.html"))
    wrong = browser.execute_script(f"""
        return data.steps.flatMap((step, k) => {{
            go(k); state.map = 1; move(Number(document.getElementById("position").max));
            return (() => {{ {MISPLACED} }})().map((what) => `${{step.layer}} ${{step.direction}}: ${{what}}`);
        }});
    """)
    assert wrong == []
    assert reader.complaints() == []


def pages():
    rng = np.random.default_rng(0)
    lenet = mx.models.lenet5("1998")
    alexnet = mx.models.alexnet(3, "cpu", "cuda-convnet", width=1 / 12, image_size=67, init="he")
    return {
        "tiny": tiny(),
        "lenet": mx.trace(lenet, rng.standard_normal((2, 1, 32, 32), dtype=np.float32), [1, 2]),
        "alexnet": mx.trace(alexnet, rng.standard_normal((1, 3, 67, 67), dtype=np.float32), [1]),
    }


@pytest.mark.browser
@pytest.mark.parametrize("name", ["tiny", "lenet", "alexnet"])
def test_every_step_can_be_clicked_through_and_fits_on_a_projector(browser, tmp_path, name):
    found = pages()[name]
    reader = Reader(browser, found.to_html(tmp_path / "page.html"))
    steps = data_of((tmp_path / "page.html").read_text(encoding="utf8"))["steps"]
    for number, step in enumerate(steps, start=1):
        count, title, wrong = browser.execute_script(f"""
            move(Number(document.getElementById("position").max));  // the last position
            return ["count", "title"].map((id) => document.getElementById(id).textContent)
                .concat([(() => {{ {MISPLACED} }})()]);
        """)
        assert count == f"{number} of {len(steps)}"
        assert title.startswith(f"{step['layer']} {step['direction']}")
        assert wrong == [], step["layer"]
        if number < len(steps):
            reader.click("next")
    assert not browser.find_element("id", "next").is_enabled()
    assert reader.complaints() == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


PLURALS = """  // what is read on the page, and in the labels that screen readers say
    const labels = [...document.querySelectorAll("[aria-label], [title], [aria-valuetext]")].flatMap(
        (e) => ["aria-label", "title", "aria-valuetext"].map((name) => e.getAttribute(name) || ""));
    const read = [document.body.innerText, ...labels].join("\\n");
    return read.match(/(?<![\\w.,−-])1 (rows|columns|maps|channels|pictures|pixels|filters|numbers|paths)\\b/g) || [];
"""


@pytest.mark.browser
@pytest.mark.parametrize("name", ["tiny", "blocks", "one"])
def test_one_of_a_thing_is_no_plural(browser, tmp_path, name):
    one = mx.Sequential(  # of everything
        conv=mx.Conv2D(1, 1, 1),
        pool=mx.AvgPool2D(1),
        top=mx.MaxPool2D(1),
        flat=mx.Flatten(),
        fc=mx.Linear(1, 1),
    )
    x = np.ones((2, 1, 1, 1), np.float32)
    found = {
        "tiny": tiny,
        "blocks": blocks,
        "one": lambda: mx.trace(one, x, grad_y=np.ones((2, 1), np.float32)),
    }[name]()
    reader = Reader(browser, found.to_html(tmp_path / "page.html"))
    wrong = browser.execute_script(
        f"return data.steps.flatMap((step, k) => {{ go(k); return (() => {{ {PLURALS} }})(); }});"
    )
    assert wrong == []
    assert browser.execute_script("return [0, 1, 2].map((n) => counted(n, 'row'))") == [
        "0 rows",
        "1 row",
        "2 rows",
    ]
    labels = browser.execute_script(
        "go(data.steps.findIndex((s) => s.layer.startsWith('fc')));"
        "return [...document.querySelectorAll('.grid')].map((g) => g.getAttribute('aria-label'))"
    )
    assert any(re.search(r", 1 row, \d+ columns?$", label) for label in labels)
    assert reader.complaints() == []


@pytest.mark.browser
def test_a_strange_name_is_shown_as_it_is(browser, tmp_path):
    name = "</script><b>&amp;"
    found = mx.trace(mx.Sequential(**{name: mx.ReLU()}), np.ones((1, 2), np.float32))
    reader = Reader(browser, found.to_html(tmp_path / "page.html"))
    assert reader.text("title").startswith(f"{name} forward")
    assert reader.complaints() == []


class Sixfold(mx.Layer):
    """Six locals, and lines that are long."""

    def forward(self, x):
        first = 2 * x
        second = first + 1
        third = (
            second * self.xp.where(x > 0, second, first)
            + self.xp.maximum(first, second)
            - self.xp.minimum(x, 0)
        )
        fourth = third.sum(axis=(2, 3), keepdims=True)
        fifth = third - fourth
        sixth = fifth.transpose(1, 2, 3, 0).copy()
        return fifth * sixth.mean()

    def backward(self, grad_y):
        return 2 * grad_y


def test_a_layer_of_ones_own_is_shown_array_by_array():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4), dtype=np.float32)
    found = mx.trace(Sixfold(), x, grad_y=x)
    forward, backward = data_of(stepper.page(found))["steps"]
    assert (forward["view"], list(forward["parts"])) == (
        "plain", "x first second third fourth fifth sixth y".split()
    )  # fmt: skip
    assert list(backward["parts"]) == ["grad_y", "grad_x"]
    assert [line["text"] for line in forward["lines"]][1::4] == [
        "second = first + 1", "sixth = fifth.transpose(1, 2, 3, 0).copy()"
    ]  # fmt: skip
    data = data_of(stepper.page(found))
    np.testing.assert_array_equal(array_of(data, forward["parts"]["sixth"]), found["sixth"].array[..., 0])


@pytest.mark.browser
def test_many_lines_and_many_arrays_fit_on_a_projector(browser, tmp_path):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4), dtype=np.float32)
    reader = Reader(browser, mx.trace(Sixfold(), x, grad_y=x).to_html(tmp_path / "page.html"))
    assert browser.execute_script(f"return (() => {{ {MISPLACED} }})()") == []
    shown = browser.find_elements("css selector", "figure")
    assert [figure.get_attribute("data-part") for figure in shown][-1] == "y"
    assert len(shown) == 8
    assert reader.complaints() == []
