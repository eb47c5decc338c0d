"""Recipes: the shipped ones are whole, unknown and missing keys are named."""

from pathlib import Path

import pytest
import yaml

import training
from crossfix.errors import RecipeError
from training.loop.devices import build_accelerator
from training.model import CrossViewEncoder
from training.recipe_file import load_recipe
from training.recipe_history import brought_up_to_date, weights_brought_up_to_date
from training.run_record import run_record

RECIPES = Path(training.__file__).parent / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_complete(path):
    recipe = load_recipe(path)
    views = recipe.views()
    assert set(views) == {"satellite", *recipe.data.query_views}
    assert views["satellite"].height_px == recipe.data.tile_px


PUBLISHED = {  # (ground height, tile, epochs, warm-up epochs, strategy, seed)
    "cvusa": (140, 384, 40, 1.0, "gps_then_dss", 42),
    "cvact": (140, 384, 40, 1.0, "gps_then_dss", 1),
    "vigor_same": (384, 384, 40, 1.0, "gps_then_dss", 1),
    "vigor_cross": (384, 384, 40, 1.0, "gps_then_dss", 1),
    "university1652": (140, 384, 1, 0.1, "random", 1),
}


@pytest.mark.parametrize("mode", ["correct", "paper"])
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_recipes_hold_the_published_settings(name, mode):
    recipe = load_recipe(RECIPES / f"{name}{'_paper' if mode == 'paper' else ''}.yaml")
    found = (
        recipe.data.ground_height_px, recipe.data.tile_px, recipe.schedule.epochs,
        recipe.schedule.warmup_epochs, recipe.sampling.strategy, recipe.runtime.seed,
    )  # fmt: skip
    assert recipe.mode == mode
    assert found == PUBLISHED[name]
    assert recipe.model.name == "convnext_base.fb_in22k_ft_in1k_384"
    assert recipe.model.pretrained
    assert (recipe.sampling.batch_size, recipe.loss.label_smoothing) == (128, 0.1)
    assert (recipe.sampling.neighbour_select, recipe.sampling.neighbour_range) == (64, 128)
    assert (recipe.optimiser.lr, recipe.optimiser.weight_decay) == (1e-3, 0.01)
    assert (recipe.optimiser.clip_value, recipe.loss.max_scale) == (100.0, None)
    assert recipe.augmentation.flip_probability == 0.5


def test_modes_differ_only_where_the_table_of_differences_says():
    for name in PUBLISHED:
        correct = load_recipe(RECIPES / f"{name}.yaml").model_dump()
        paper = load_recipe(RECIPES / f"{name}_paper.yaml").model_dump()
        differing = {
            f"{group}.{key}" if isinstance(values, dict) else group
            for group, values in correct.items()
            for key in (values if isinstance(values, dict) else [None])
            if (values[key] if key else values) != (paper[group][key] if key else paper[group])
        }
        assert differing <= {
            "name", "mode", "data.interpolation", "data.validation_share",
            "sampling.exclude_within_m", "runtime.precision",
        }  # fmt: skip


def test_a_recipe_extends_others_in_order(tmp_path):
    (tmp_path / "a.yaml").write_text((RECIPES / "tiny.yaml").read_text())
    (tmp_path / "b.yaml").write_text("loss: {label_smoothing: 0.3}\nname: b\n")
    (tmp_path / "c.yaml").write_text("extends: [a.yaml, b.yaml]\nloss: {max_scale: 50}\n")
    recipe = load_recipe(tmp_path / "c.yaml")
    assert (recipe.name, recipe.loss.label_smoothing, recipe.loss.max_scale) == ("b", 0.3, 50)
    assert recipe.loss.initial_temperature == 0.07
    (tmp_path / "a.yaml").write_text("extends: c.yaml\n")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(tmp_path / "c.yaml")


def test_another_kind_of_augmentation_replaces_the_whole_group(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(f"extends: {RECIPES / 'tiny.yaml'}\naugmentation: {{kind: sample4geo}}\n")
    with pytest.raises(RecipeError, match=r"augmentation.*flip_probability is missing"):
        load_recipe(path)


def test_overrides_take_yaml_values():
    recipe = load_recipe(RECIPES / "tiny.yaml", ["optimiser.lr=3e-3", "runtime.max_minutes=null"])
    assert recipe.optimiser.lr == 0.003
    assert recipe.runtime.max_minutes is None


@pytest.mark.parametrize("override", ["optimiser.speed=1", "nothing.lr=1", "optimiser.lr", "lr=1"])
def test_unknown_override_is_refused(override):
    with pytest.raises(RecipeError):
        load_recipe(RECIPES / "tiny.yaml", [override])


def test_missing_and_unknown_keys_are_named(tmp_path):
    content = yaml.safe_load((RECIPES / "tiny.yaml").read_text())
    del content["loss"]["label_smoothing"]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=r"loss\.label_smoothing is missing"):
        load_recipe(path)
    content["loss"].update(label_smoothing=0.1, sharpness=2)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match=r"loss\.sharpness is not known"):
        load_recipe(path)


def test_impossible_values_and_broken_files_are_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"optimiser\.lr"):
        load_recipe(RECIPES / "tiny.yaml", ["optimiser.lr=-1"])
    with pytest.raises(RecipeError, match=r"data.*towns"):
        load_recipe(RECIPES / "tiny.yaml", ["data.towns=null"])
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(RecipeError):
        load_recipe(tmp_path / "broken.yaml")
    with pytest.raises(RecipeError):
        load_recipe(tmp_path / "absent.yaml")


def test_run_record_names_code_and_libraries():
    record = run_record(load_recipe(RECIPES / "tiny.yaml"))
    assert record["revision"]
    assert {"torch", "timm", "accelerate", "numpy"} <= set(record["libraries"])


AFFINE = ("model.tile_transform={kind: affine_stn, height_px: 112, width_px: 616, "
          "guide_weight: 0.0}")  # fmt: skip


@pytest.mark.parametrize(("name", "overrides", "millions"), [
    ("polar_cvusa", (), 34.96), ("stn_cvusa", (AFFINE,), 35.07), ("stn_cvusa", (), 35.89),
    ("stn_vigor_same", (), 26.92),
])  # fmt: skip
def test_transformer_recipes_have_the_size_that_was_counted_in_the_original(
    name, overrides, millions
):
    recipe = load_recipe(RECIPES / f"{name}.yaml", ["model.pretrained=false", *overrides])
    model = CrossViewEncoder(recipe.model, recipe.views())
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert model.embedding_dim == 2048
    assert recipe.loss.fraction_at(19) == 1.0
    assert recipe.loss.fraction_at(20) == 0.1


def test_her_recipes_hold_the_authors_settings():
    for name in ("her_cvusa", "her_university1652"):
        loss = load_recipe(RECIPES / f"{name}.yaml").loss
        assert (loss.kind, loss.directions, loss.normalise) == ("her", "query_to_tile", True)
        assert (loss.feature_scale, loss.margin_share, loss.pruned_weight) == (5.0, 0.15, 0.1)
        assert not loss.detach_weights
    recipe = load_recipe(RECIPES / "her_cvusa.yaml")
    assert (recipe.optimiser.kind, recipe.optimiser.lr, recipe.optimiser.momentum) == (
        "sgd", 5e-5, 0.9,
    )  # fmt: skip
    assert (recipe.schedule.kind, recipe.schedule.epochs) == ("linear", 100)
    assert (recipe.sampling.batch_size, recipe.loss.orientation_weight) == (12, 0.5)


def test_the_paper_recipe_of_her_holds_what_is_known_of_the_authors_last_set_up():
    recipe = load_recipe(RECIPES / "her_cvusa_paper.yaml")
    assert (recipe.model.name, recipe.model.sharing) == ("resnet18", "none")
    assert (recipe.model.embedding_dim, recipe.model.aggregation.pool) == (1024, 2)
    assert recipe.model.attention.kernels == (3, 5, 7)
    assert (recipe.schedule.kind, recipe.schedule.epochs) == ("linear_by_epoch", 100)
    assert [recipe.schedule.loss_scale_at(e) for e in (0, 49, 50, 99)] == [1, 1, 5, 5]
    crop = recipe.data.tile_crop
    assert (crop.least_px, crop.most_px, crop.used_above_px) == (1, 748, 512)
    assert recipe.data.tile_px == 512
    assert recipe.augmentation.flip_probability == 0
    assert recipe.loss == load_recipe(RECIPES / "her_cvusa.yaml").loss
    assert recipe.optimiser == load_recipe(RECIPES / "her_cvusa.yaml").optimiser


SAFA = {  # tile, ground, reduce, batch, epochs
    "safa_cvusa": (750, (112, 616), "mean", 32, 100),
    "safa_cvact": (1200, (112, 616), "mean", 32, 100),
    "safa_vigor_same": (320, (320, 640), "max", 14, 30),
}


@pytest.mark.parametrize("name", SAFA)
def test_safa_recipes_hold_the_published_settings(name):
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    data, model = recipe.data, recipe.model
    assert (data.tile_px, (data.ground_height_px, data.ground_width_px), model.aggregation.reduce,
            recipe.sampling.batch_size, recipe.schedule.epochs) == SAFA[name]  # fmt: skip
    assert (model.name, model.aggregation.masks, model.pool_rounding) == ("vgg16", 8, "up")
    assert (model.conv_dropout.share, model.conv_dropout.first_conv) == (0.2, 8)
    assert (recipe.optimiser.kind, recipe.optimiser.lr) == ("adam", 1e-5)
    assert (recipe.optimiser.beta1, recipe.optimiser.beta2) == (0.9, 0.999)
    assert recipe.augmentation.flip_probability == 0


@pytest.mark.parametrize("scales", [
    "[{epochs: 2, factor: 1.0}]", "[{epochs: null, factor: 1.0}, {epochs: null, factor: 5.0}]",
    "[{epochs: 3, factor: 1.0}, {epochs: 2, factor: 2.0}, {epochs: null, factor: 5.0}]",
])  # fmt: skip
def test_loss_scales_without_order_or_end_are_refused(scales):
    with pytest.raises(RecipeError, match="loss_scales need ascending epochs, and null"):
        load_recipe(RECIPES / "tiny.yaml", [f"schedule.loss_scales={scales}"])


def test_tiles_are_not_turned_twice():
    with pytest.raises(RecipeError, match="tile_random_turn to false"):
        load_recipe(RECIPES / "her_university1652.yaml", ["loss.orientation_weight=0.5"])


TPS = "kind: tps_stn, height_px: 56, width_px: 112, lattice_rows: 4, lattice_columns: 4"


@pytest.mark.parametrize(("overrides", "sentence"), [
    (["model.tile_transform={kind: stacked_affine_stn, height_px: 56, width_px: 112, "
      "guide_weight: 1.0}"], "tile_transform.guide_weight is not known"),
    (["model.tile_transform={kind: polar, height_px: 56, width_px: 112, stretch: false, "
      "guide_weight: 1.0}"], "tile_transform.guide_weight is not known"),
    (["model.tile_transform={kind: none, guide_weight: 1.0}"],
     "tile_transform.guide_weight is not known"),
    ([f"model.tile_transform={{{TPS}, bounded: false, guide_weight: -1.0}}"],
     r"tile_transform\.guide_weight is wrong"),
    (["data.query_views=[drone]",
      f"model.tile_transform={{{TPS}, bounded: false, guide_weight: 1.0}}"],
     "guide_weight makes tiles look like panoramas, and no view of the recipe is one"),
    (["data.ground_kind=street",
      "model.tile_transform={kind: polar, height_px: 56, width_px: 112, stretch: false}"],
     "kind polar makes tiles look like panoramas, and no view of the recipe is one"),
    (["model.tile_transform={kind: wavelet}"], "tile_transform is wrong"),
    (["loss={kind: magnet}"], "loss is wrong"),
    (["data.google_photos=true"], "google_photos is for university1652 with the ground view"),
])  # fmt: skip
def test_wrong_combinations_are_refused_in_one_sentence(overrides, sentence):
    with pytest.raises(RecipeError, match=sentence) as refused:
        load_recipe(RECIPES / "tiny.yaml", overrides)
    assert "\n" not in str(refused.value)
    assert "Value error" not in str(refused.value)


def test_a_transformer_without_a_guide_needs_no_panoramas():
    recipe = load_recipe(RECIPES / "tiny.yaml", [
        "data.query_views=[drone]",
        f"model.tile_transform={{{TPS}, bounded: false, guide_weight: 0.0}}",
    ])  # fmt: skip
    assert recipe.model.guide_weight == 0


@pytest.mark.parametrize(("batch", "micro_batch"), [(9, 4), (8, 1), (8, 7)])
def test_no_image_is_normalised_alone(batch, micro_batch):
    alone = [f"sampling.batch_size={batch}", f"runtime.micro_batch={micro_batch}"]
    recipe = load_recipe(RECIPES / "tiny.yaml", [*alone, "model.embedding_norm=true"])
    with pytest.raises(RecipeError, match="one passes the network alone"):
        build_accelerator(recipe)
    build_accelerator(load_recipe(RECIPES / "tiny.yaml", alone))


def test_images_of_which_a_network_leaves_nothing_are_refused():
    recipe = load_recipe(RECIPES / "tiny.yaml", [
        "model.name=alexnet", "model.kwargs={}", "model.aggregation={kind: average}",
    ])  # fmt: skip
    with pytest.raises(RecipeError, match="AlexNet gives no map of images of 32 x 32 pixels"):
        CrossViewEncoder(recipe.model, recipe.views())


def test_recipes_and_weights_of_former_runs_are_understood():
    now = load_recipe(RECIPES / "tiny.yaml").model_dump(mode="json")
    former = {group: dict(values) if isinstance(values, dict) else values
              for group, values in now.items()}  # fmt: skip
    for key in ("sharing", "shared_head", "stem_pool", "feature_level", "aggregation",
                "embedding_norm", "tile_transform", "fit_first_layer", "pool_rounding",
                "conv_dropout", "attention"):  # fmt: skip
        del former["model"][key]
    del former["loss"]["kind"], former["schedule"]["kind"], former["schedule"]["loss_scales"]
    del former["data"]["tile_crop"], former["data"]["polar_tiles"]
    del former["data"]["add_mirrored"], former["data"]["google_photos"]
    del former["optimiser"]["kind"], former["optimiser"]["backbone_lr_share"]
    assert brought_up_to_date(former) == now
    assert brought_up_to_date(now) == now
    state = {"backbone.stem.0.weight": 1, "projection.bias": 2, "heads.shared.norm.bias": 3}
    assert weights_brought_up_to_date(state) == {
        "backbones.shared.stem.0.weight": 1, "heads.shared.projection.bias": 2,
        "heads.shared.norm.bias": 3,
    }  # fmt: skip
