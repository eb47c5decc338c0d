"""What each data set is, where it comes from, under which terms, and how its folder must look."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from training.datasets.folder import DataFolder
from training.datasets.split import DatasetCard
from training.recipe import DatasetName

_VIGOR_LAYOUT = (
    "<City>/panorama/<id>,<lat>,<lon>,.jpg      2048 x 1024, centre looks north",
    "<City>/satellite/satellite_<lat>_<lon>.png  640 x 640, Web-Mercator zoom 20",
    "  or ground/<City>/ and satellite/<City>/ with the same files",
    "splits/<City>/satellite_list.txt",
    "splits/<City>/same_area_balanced_{train,test}.txt   panorama, then 4 x (tile, d0, d1)",
    "splits/<City>/pano_label_balanced.txt               the same, for cross-area",
    "splits__corrected/<City>/*__corrected.txt           optional; read when all are there,",
    "                                                    not by recipes of the paper's mode",
    "  <City>: Chicago, NewYork, SanFrancisco, Seattle",
)
_VIGOR_SOURCE = (
    "Zhu, Yang, Chen: VIGOR: Cross-View Image Geo-localization beyond One-to-one Retrieval, "
    "CVPR 2021; https://github.com/Jeff-Zilence/VIGOR. Corrected labels: Lentsch et al.: "
    "SliceMatch, CVPR 2023; https://github.com/tudelft-iv/SliceMatch"
)
_VIGOR_LICENCE = (
    "images are Google's, for academic use only and not to be passed on; the authors' code is MIT, "
    "the corrected labels Apache-2.0"
)

CARDS: Mapping[DatasetName, DatasetCard] = MappingProxyType(
    {
        "sample_world": DatasetCard(
            name="sample_world",
            source="rendered here: python -m sample_world render",
            licence="Apache-2.0, like the program that renders it",
            counts={},
            layout=(
                "<town>/satellite.tif  north-up RGB GeoTIFF in metres",
                "<town>/photos.csv     file, view, projection, lat, lon, heading_deg, hfov_deg",
                "<town>/<file>         the photos",
            ),
            protocols=("towns",),
        ),
        "cvusa": DatasetCard(
            name="cvusa",
            source=(
                "Workman, Souvenir, Jacobs, ICCV 2015, in the subset of Zhai et al.: Predicting "
                "Ground-Level Scene Layout from Aerial Imagery, CVPR 2017; CVPR_subset by the "
                "authors' request form, see https://github.com/viibridges/crossnet"
            ),
            licence="none stated with the files; given to researchers on request",
            counts={"training pairs": "35,532", "test pairs": "8,884"},
            layout=(
                "splits/train-19zl.csv, splits/val-19zl.csv   rows tile,panorama,annotation",
                "bingmap/19/<number>.jpg        750 x 750",
                "streetview/panos/<number>.jpg  1232 x 224, centre looks north",
                "split_locations/all.csv        row number - 1: tile lat, lon, camera lat, lon;",
                "                               only needed for GPS batches and metres",
            ),
            protocols=("val",),
        ),
        "cvact": DatasetCard(
            name="cvact",
            source=(
                "Liu, Li: Lending Orientation to Neural Networks for Cross-view Geo-localization, "
                "CVPR 2019; https://github.com/Liumouliu/OriCNN"
            ),
            licence="academic use only, not to be passed on; the authors' code is MIT",
            counts={
                "training pairs": "35,532",
                "validation pairs": "8,884",
                "test pairs": "92,802",
            },
            layout=(
                "ACT_data.mat                                          ids, UTM places, splits",
                "ANU_data_small/streetview/<id>_grdView.jpg            centre looks north",
                "ANU_data_small/satview_polish/<id>_satView_polish.jpg 1200 x 1200",
                "ANU_data_test/{streetview,satview_polish}/            the same; test protocols",
            ),
            protocols=("val", "test", "val-5m", "test-5m"),
        ),
        "vigor_same_area": DatasetCard(
            name="vigor_same_area",
            source=_VIGOR_SOURCE,
            licence=_VIGOR_LICENCE,
            counts={"training panoramas": "52,609", "test panoramas": "52,605", "tiles": "90,618"},
            layout=_VIGOR_LAYOUT,
            protocols=("test",),
        ),
        "vigor_cross_area": DatasetCard(
            name="vigor_cross_area",
            source=_VIGOR_SOURCE,
            licence=_VIGOR_LICENCE,
            counts={
                "training panoramas (NewYork, Seattle)": "51,520",
                "test panoramas (Chicago, SanFrancisco)": "53,694",
                "training tiles": "44,055",
                "test tiles": "46,563",
            },
            layout=_VIGOR_LAYOUT,
            protocols=("test",),
        ),
        "university1652": DatasetCard(
            name="university1652",
            source=(
                "Zheng, Wei, Yang: University-1652: A Multi-view Multi-source Benchmark for "
                "Drone-based Geo-localization, ACM Multimedia 2020; "
                "https://github.com/layumi/University1652-Baseline"
            ),
            licence="academic use only, by e-mail from its authors; their code is MIT",
            counts={
                "training": "701 buildings, 50,218 images in all views",
                "drone queries": "37,855 of 701 buildings",
                "satellite queries": "701",
                "street queries": "2,579",
                "satellite gallery": "951, of which 250 without a query",
                "drone gallery": "51,355 of 951 buildings",
                "street gallery": "2,921 of 793 buildings",
                "satellite distractors of the 160k challenge": "167,486",
            },
            layout=(
                "train/{satellite,drone,street,google}/<building>/   google may be left out",
                "test/query_{satellite,drone,street}/<building>/",
                "test/gallery_{satellite,drone,street}/<building>/",
                "test/gallery_satellite_160k/<file>                   optional distractors",
                "test/query_drone_160k/, test/query_drone_name.txt   optional, for `answer`",
            ),
            protocols=(
                "drone-to-satellite",
                "satellite-to-drone",
                "street-to-satellite",
                "satellite-to-street",
                "drone-to-satellite-160k",
                "drone-to-satellite-multi",
                "street-to-satellite-multi",
            ),
        ),
    }
)

_DOWNLOADS: Mapping[DatasetName, tuple[str, str]] = {
    "cvusa": ("CVUSA", "the CVPR_subset of CVUSA (request form), unpacked whole"),
    "cvact": (
        "CVACT",
        "ACT_data.mat and ANU_data_small (for the test protocols ANU_data_test too) of CVACT",
    ),
    "vigor_same_area": ("VIGOR", "the images and splits of all four cities of VIGOR"),
    "vigor_cross_area": ("VIGOR", "the images and splits of all four cities of VIGOR"),
    "university1652": ("University-1652", "the train and test folders of University-1652"),
}


def card_of(name: DatasetName, found: Mapping[str, str]) -> DatasetCard:
    """A data set's card with what was found in its folder added to the counts."""
    card = CARDS[name]
    return replace(card, counts={**card.counts, **found})


def folder_of(name: DatasetName, root: Path) -> DataFolder:
    """A data set's folder, which knows what to tell people to download."""
    title, what = _DOWNLOADS[name]
    hint = f"get {what}; `python -m training datasets {name}` shows the layout"
    return DataFolder(root, title, hint)
