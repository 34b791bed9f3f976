"""The report says what the items say, stays one readable file, and claims nothing that the intervals do not."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from deepblur.platform.arms.trained.pictures import overview
from deepblur.platform.arms.trained.report import write_report
from deepblur.platform.arms.trained.result import Picture, StudyResult, paired_table, summary_table
from deepblur.platform.arms.trained.text import baseline_sentences, contrast_sentences, text_summary
from deepblur.platform.data.image_file import read_grey
from deepblur.platform.report.numbers import WIDTH

VOID = {"meta", "img", "br"}


def study(
    *,
    arms=("estimated", "true"),
    seeds=(0, 1),
    noises=("clean", "low"),
    etas=(0.05, 0.1),
    images=8,
    draws=2,
    lead_db=0.0,
    in_gain_db=5.0,
    dn_gain_db=2.0,
    pictures=1,
    one_psf=True,
):
    """A finished study made of random numbers with known means; the first arm leads by `lead_db`."""
    rng = np.random.default_rng(1)
    cells = pd.MultiIndex.from_product(
        [noises, etas, [f"photo {i}" for i in range(images)], range(draws)],
        names=["noise", "eta_waves", "image", "draw"],
    )
    shared = pd.DataFrame(index=cells).reset_index()
    shared["mean_psf_snr_db"] = 14 - 40 * shared["eta_waves"] + rng.normal(0, 0.5, len(shared))
    shared["blurry_psnr_db"] = 24 + rng.normal(0, 2, len(shared))
    shared["blurry_ssim"] = 0.6 + rng.normal(0, 0.02, len(shared))
    tables = []
    for seed in seeds:
        snr = shared["mean_psf_snr_db"] + in_gain_db + rng.normal(0, 1, len(shared))
        for i, arm in enumerate(arms):
            table = shared.assign(arm=arm, seed=seed, psf_ncc=0.95, gamma_rmse_waves=0.02)
            table["psf_snr_db"] = snr if one_psf else snr + rng.normal(0, 1, len(shared))
            table["psf_snr_registered_db"] = table["psf_snr_db"] + 0.5
            gain = dn_gain_db + (lead_db if i == 0 else 0) + rng.normal(0, 0.1, len(shared))
            table["psnr_db"], table["ssim"] = table["blurry_psnr_db"] + gain, table["blurry_ssim"] + 0.05 * gain
            table["oracle_psnr_db"], table["oracle_ssim"] = table["psnr_db"] + 0.5, table["ssim"] + 0.01
            tables.append(table)
    steps = np.arange(0, 400, 20)
    curve = pd.DataFrame({"step": steps, "loss": np.exp(-steps / 100) + 0.01, "lr": 1e-3, "images_per_s": 900.0})
    curves = {f"IN · seed {seed}": curve.assign(val_psf_snr_db=14.0, val_mean_psf_snr_db=10.0) for seed in seeds}
    gaps = np.where(steps % 100 == 0, 25.0, np.nan)
    curves |= {f"DN · {arm}": curve.assign(val_psnr_db=gaps, val_blurry_psnr_db=24.0) for arm in arms}
    image = rng.random((24, 40), dtype=np.float32)
    psf = np.outer(np.hanning(9), np.hanning(9)).astype(np.float32)
    psf /= psf.sum()
    picture = Picture(
        title="photo 0 · noise low · η 0.10",
        blurry=image / 2,
        sharp=image,
        restored=dict.fromkeys(arms, image),
        psf_true=psf,
        psf_estimated=psf.T,
        captions={"blurry": "21.0 dB", "psf": "14.2 dB", **dict.fromkeys(arms, "24.1 dB")},
    )
    return StudyResult(
        name="ablation_true_vs_est",
        title="Does DN learn to correct the errors of IN?",
        abstract={"Claim": "No difference.", "Outcome": "not run yet"},
        preset="quick",
        command="python studies/ablation_true_vs_est.py --preset quick",
        items=pd.concat(tables, ignore_index=True),
        contrast=("estimated", "true"),
        curves=curves,
        pictures=(picture,) * pictures,
        facts={"Git commit": "0123abc", "Device": "cpu, 2 threads"},
        parameters={arm: {"unroll": "4", "train_operator": arm} for arm in arms},
    )


class Balanced(HTMLParser):
    """Fails on a tag that is closed without being open; collects text and the addresses that a page refers to."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.addresses, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"href", "src", "srcset", "action"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(html):
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


CASES = {
    "usual": {},
    "one seed": {"seeds": (0,)},
    "one image": {"images": 1, "seeds": (0,)},
    "one draw": {"images": 1, "seeds": (0,), "draws": 1, "noises": ("low",), "etas": (0.1,)},
    "one arm": {"arms": ("true",)},
    "a third arm": {"arms": ("estimated", "true", "other"), "one_psf": False},
    "seven arms": {"arms": ("estimated", "true", *"cdefg"), "images": 2, "draws": 1, "etas": (0.1,)},
    "no picture": {"pictures": 0, "images": 2, "noises": ("low",)},
}


@pytest.mark.parametrize("case", CASES)
def test_the_report_is_one_well_formed_file_without_links_scripts_or_nan(case, tmp_path):
    path = write_report(study(**CASES[case]), tmp_path)
    html = path.read_text(encoding="utf-8")
    page = parse(html)
    assert path.name == "report.html"
    assert "http" not in html
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(
        address.startswith(("data:image/png;base64,", "data:image/svg+xml;base64,")) for address in page.addresses
    )
    assert not re.search(r"\b(nan|None|inf)\b", " ".join(page.text))


@pytest.mark.parametrize("case", ["usual", "one draw", "a third arm"])
def test_the_text_stays_within_the_width_of_a_job_log(case):
    text = text_summary(study(**CASES[case], in_gain_db=180.0, dn_gain_db=-14.0))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert not re.search(r"\b(nan|None|inf)\b", text)


def test_every_number_of_the_text_table_follows_from_the_items():
    result = study()
    text = text_summary(result)
    for arm in result.arms:
        block = text.split(f"\n{arm}\n")[1]
        items = result.items[result.items["arm"] == arm]
        subsets = {
            "all draws": items,
            "noise low": items[items["noise"] == "low"],
        }
        for label, rows in subsets.items():
            line = next(line for line in block.splitlines() if line.strip().startswith(label))
            means = [re.sub("−", "-", part) for part in re.findall(r"(\S+) \[", line)]
            assert f" {len(rows)} " in line
            assert means == [
                f"{rows['psf_snr_db'].mean():.1f}",
                f"{(rows['psf_snr_db'] - rows['mean_psf_snr_db']).mean():+.1f}",
                f"{(rows['psnr_db'] - rows['blurry_psnr_db']).mean():+.2f}",
                f"{(rows['ssim'] - rows['blurry_ssim']).mean():+.3f}",
            ]


def test_the_text_is_ten_lines_of_table_and_a_sentence_for_each_question():
    table, sentences = text_summary(study(noises=("clean", "low", "high"), images=12)).split("\n\n")[1:]
    assert len(table.splitlines()) <= 11
    assert "η" not in table
    lines = [line for line in sentences.splitlines() if not line.startswith(" ")]
    assert [line.split()[0] for line in lines] == ["IN", "DN", "PSNR,"]


def test_arms_of_which_another_thing_holds_have_a_sentence_of_their_own():
    result = study(lead_db=-4.0, dn_gain_db=2.0, images=12)
    first, second = (line for line in baseline_sentences(result) if "DN" in line)
    assert first.startswith("DN (estimated) is worse than the blurry input: −")
    assert second.startswith("DN (true) beats the blurry input: +")
    assert "(95 % interval)," in first


def test_one_picture_shows_before_after_truth_and_both_psfs(tmp_path):
    image = overview(study())
    (tmp_path / "overview.png").write_bytes(image)
    pixels = read_grey(tmp_path / "overview.png")
    assert pixels.shape[1] > 1000
    assert pixels.std() > 0.1
    assert overview(study(pictures=0)) is None


def test_the_summary_brackets_each_mean_and_counts_each_draw():
    result = study(arms=("estimated", "true", "other"))
    table = summary_table(result)
    assert list(table["arm"].unique()) == result.arms
    for name in ("psf_snr_db", "psf_gain_db", "psnr_gain_db", "ssim_gain", "oracle_psnr_gain_db"):
        assert ((table[f"{name}_low"] < table[name]) & (table[name] < table[f"{name}_high"])).all()
    draws = table.groupby("group")["draws"].sum()
    assert draws.to_dict() == dict.fromkeys(("all", "noise", "eta_waves"), len(result.items))


def test_the_contrast_is_the_first_arm_minus_the_second():
    result = study(lead_db=0.5)
    table = paired_table(result)
    overall = table[(table["metric"] == "psnr_db") & (table["noise"] == "all")].iloc[0]
    means = result.items.groupby("arm")["psnr_db"].mean()
    assert overall["difference"] == pytest.approx(means["estimated"] - means["true"], rel=1e-9)
    assert overall["first"] == pytest.approx(means["estimated"])
    assert len(table[table["metric"] == "psnr_db"]) == 1 + 2 * 2


@pytest.mark.parametrize(
    ("lead_db", "words"),
    [
        (0.5, "higher for the arm estimated"),
        (-0.5, "higher for the arm true"),
        (0.0, "no difference shown at this size"),
    ],
)
def test_the_verdict_claims_a_difference_only_where_the_interval_shows_one(lead_db, words):
    result = study(lead_db=lead_db, images=12)
    assert words in contrast_sentences(result, paired_table(result))[0]


def test_identical_arms_are_called_identical():
    result = study()
    same = result.items[result.items["arm"] == "true"]
    result = dataclasses.replace(result, items=pd.concat([same.assign(arm="estimated"), same], ignore_index=True))
    assert "no difference at all" in contrast_sentences(result, paired_table(result))[0]


def test_one_image_settles_nothing():
    result = study(images=1, seeds=(0,), lead_db=3.0)
    text = " ".join(text_summary(result).split())
    assert "one image, so nothing can be concluded" in text
    assert "Not shown that IN beats the mean PSF" in text
    assert "One training seed" in text


@pytest.mark.parametrize(
    ("gain_db", "psf", "image"),
    [
        (2.0, "IN beats the mean PSF", "DN (estimated, true) beats the blurry input"),
        (-2.0, "IN is worse than the mean PSF", "DN (estimated, true) is worse than the blurry input"),
        (0.0, "Not shown that IN beats the mean PSF", "Not shown that DN (estimated, true) beats the blurry input"),
    ],
)
def test_the_baselines_are_beaten_only_where_the_interval_says_so(gain_db, psf, image):
    sentences = baseline_sentences(study(in_gain_db=gain_db, dn_gain_db=gain_db))
    assert any(sentence.startswith(psf) for sentence in sentences)
    assert any(sentence.startswith(image) for sentence in sentences)


def test_psf_snr_is_compared_only_where_the_arms_have_their_own_estimates():
    assert "psf_snr_db" not in set(paired_table(study())["metric"])
    assert "psf_snr_db" in set(paired_table(study(one_psf=False))["metric"])


def test_a_contrast_without_its_partner_says_so():
    result = study(arms=("true",))
    assert contrast_sentences(result, paired_table(result)) == [
        "The contrast estimated − true was not compared: estimated not evaluated."
    ]


def test_names_are_shown_as_written_and_never_as_markup(tmp_path):
    nasty = '<b>"&$x_1$'
    result = study(arms=(nasty, "true"), noises=("<low> & $",))
    result = dataclasses.replace(result, contrast=(nasty, "true"), title=nasty, facts={nasty: nasty}, command=nasty)
    html = write_report(result, tmp_path).read_text(encoding="utf-8")
    page = parse(html)
    assert "b" not in page.tags
    assert "low" not in page.tags
    assert sum(nasty in text for text in page.text) >= 8
    assert any("noise <low> & $" in text for text in page.text)


def test_a_second_report_replaces_the_first_and_equals_it(tmp_path):
    result = study(images=2)
    first = write_report(result, tmp_path).read_bytes()
    assert write_report(result, tmp_path).read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "summary.csv", "paired.csv", "items.parquet"}
    assert len(pd.read_parquet(tmp_path / "items.parquet")) == len(result.items)
    assert list(pd.read_csv(tmp_path / "paired.csv").columns) == list(paired_table(result).columns)


def test_a_measure_that_is_not_finite_is_refused():
    items = study().items.copy()
    items.loc[3, "ssim"] = np.nan
    with pytest.raises(ValueError, match=r"ssim is not in 1 rows, first .*'arm': 'estimated'"):
        dataclasses.replace(study(), items=items)


def test_a_missing_column_a_repeated_draw_and_no_draw_are_refused():
    result = study()
    with pytest.raises(ValueError, match="oracle_ssim missing"):
        dataclasses.replace(result, items=result.items.drop(columns="oracle_ssim"))
    with pytest.raises(ValueError, match="once per arm and seed"):
        dataclasses.replace(result, items=pd.concat([result.items, result.items.iloc[:1]]))
    with pytest.raises(ValueError, match="no evaluated draw"):
        dataclasses.replace(result, items=result.items.iloc[:0])


def test_curves_with_unknown_measures_or_none_are_still_drawn(tmp_path):
    curve = pd.DataFrame({"step": [0, 10], "loss": [1.0, -0.5]})
    result = dataclasses.replace(study(images=2), curves={"a": curve, "b": curve.assign(val_other=[np.nan, 2.0])})
    page = parse(write_report(result, tmp_path).read_text(encoding="utf-8"))
    assert {"a", "b"} <= {text.strip() for text in page.text}
    assert any("right, val_other on fixed draws" in text for text in page.text)
    none = dataclasses.replace(result, curves={}, parameters={}, facts={})
    assert "Learning curves" not in write_report(none, tmp_path).read_text(encoding="utf-8")
