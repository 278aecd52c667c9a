"""Which metrics each built item records, so that a record edited by hand is noticed."""

from saa_lite.errors import RecordError
from saa_lite.records.record import Record

AUGMENTED = (
    "accuracy",
    "accuracy_reestimated",
    "test_loss",
    "train_accuracy",
    "augmented_accuracy",
    "least_lead",
    "mean_lead",
    "drawn_lead",
    "train_accuracy_reestimated",
    "export_difference",
    "diverged_epoch",
)
SEARCHED = (
    "smallest_accuracy",
    "largest_accuracy",
    "best_accuracy",
    "hypervolume",
    "kendall_tau",
    "target_accuracy",
    "energy_A",
    "energy_B",
    "energy_C",
)
LIKENESS = ("wide_accuracy", "wide_shared_errors", "teacher_accuracy", "teacher_shared_errors")
DIGIT_SCENES = ("ground", *"0123456789")
CAMVID = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
    "bicyclist",
)  # fmt: skip
METRICS: dict[str, tuple[str, ...]] = {
    "shiftaddaug/claim-cifar100": AUGMENTED,
    "shiftaddaug/regimes": AUGMENTED,
    "shiftaddaug/adders": AUGMENTED,
    "shiftaddaug/claim-segmentation": (
        "miou",
        "miou_reestimated",
        "train_miou_reestimated",
        "pixel_accuracy_reestimated",
        *(f"iou {name}" for name in (*DIGIT_SCENES, *CAMVID)),
        "export_difference",
        "energy_A",
        "energy_B",
        "energy_C",
        "diverged_epoch",
    ),
    "shiftaddaug-supp/fig1": AUGMENTED,
    "shiftaddaug-supp/tab1": (*AUGMENTED, *LIKENESS),
    "shiftaddaug-supp/tab2": AUGMENTED,
    "shiftaddaug-supp/addconv-nas": (
        "accuracy",
        "accuracy_reestimated",
        "test_loss",
        "train_accuracy",
        "train_accuracy_reestimated",
        "diverged_epoch",
        "slowdown",
    ),
    "shiftaddaug-supp/tab3": (
        "step_ms",
        "slowdown",
        "predicted_slowdown",
        "memory_mb",
        "alone_memory_mb",
        "pass_memory_mb",
        "training_memory_mb",
        "loader_ms",
        "parted_ms",
    ),
    "addernet-impacts/eq-gradients": (
        "relative_error",
        "sign_cosine_slope",
        "layer_cosine_slope",
        "part_cosine_slope",
    ),
    "addernet-impacts/fig-features": (
        "accuracy",
        "cosine_accuracy",
        "l1_accuracy",
        "angle_ratio",
        "position_ratio",
        "cosine_minus_l1_accuracy",
    ),
    "addernet-impacts/fig-kernels": (
        "accuracy",
        "laplace_advantage",
        "laplace_advantage_initial",
        "kurtosis",
        "kurtosis_initial",
        "neighbour_correlation",
        "neighbour_correlation_initial",
    ),
    "addernet-impacts/fig-loss-cifar10": ("accuracy", "test_loss"),
    "addernet-impacts/fig-loss-cifar100": ("accuracy", "test_loss"),
    "addernet-impacts/claim-speed": ("latency_ms",),
    "adder-quant/eq-flops": (
        "identities_failed",
        "layers_missed",
        "overhead",
        "simplified_overhead",
        "network_overhead",
    ),
    "adder-quant/fig1": (
        "accuracy",
        "accuracy_without_reestimation",
        "accuracy_8_bits",
        "logit_error",
        "weight_range",
        "input_range",
        "weight_entropy",
        "input_entropy",
        "weights_clamped",
        "inputs_clamped",
    ),
    "adder-quant/tab1": ("multiply", "add", "xnor", "norm_activation", "accuracy"),
    "adder-quant/tab2": ("multiply", "add", "xnor", "norm_activation"),
    "adder-quant/tab3": (
        "accuracy",
        "logit_error",
        "accuracy_without_reestimation",
        "accuracy_trained",
    ),
    "adder-quant/tab4": (
        "accuracy",
        "accuracy_reestimated",
        "change_8_bits",
        "change_6_bits",
        "change_4_bits",
        "logit_error_8_bits",
        "logit_error_6_bits",
        "logit_error_4_bits",
    ),
    "adder-quant/tab5": (
        "accuracy",
        "accuracy_reestimated",
        "change_4_bits",
        "change_3_bits",
        "logit_error_4_bits",
        "logit_error_3_bits",
    ),
    "shiftaddaug/fig2": (
        "accuracy",
        "laplace_advantage",
        "laplace_advantage_initial",
        "filter_advantage",
        "filter_advantage_initial",
        "kurtosis",
        "kurtosis_initial",
        "gaussian_distance",
        "gaussian_distance_initial",
        "laplace_distance",
        "laplace_distance_initial",
        "change_advantage",
        "change_width",
        "laplace_gain",
        "layers_laplace",
        "pooled_advantage",
        "start_correlation",
    ),
    "shiftaddaug/fig3": (
        "ks_distance",
        "laplace_advantage",
        "kurtosis",
        "std",
        "accuracy",
        "best_accuracy",
    ),
    "shiftaddaug/fig4": (*AUGMENTED, *SEARCHED),
    "shiftaddaug/fig1": (
        "export_difference",
        "weight",
        "target_parameters",
        "augmented_parameters",
        "plain_bytes",
        "exported_bytes",
    ),
    "shiftaddaug/fig5": ("energy_A", "energy_B", "energy_C"),
}


def check_metric(record: Record) -> None:
    """Raise :class:`RecordError` if the item is listed above and does not have the metric."""
    known = METRICS.get(record.item)
    if known is not None and record.metric not in known:
        raise RecordError(
            f"metric of {record.item} must be one of {', '.join(known)}; got {record.metric!r}"
        )
