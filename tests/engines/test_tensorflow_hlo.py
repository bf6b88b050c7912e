"""Reading what XLA compiled: instructions, fusions and multiply-accumulates from the text of the HLO."""

import pytest

from engines.tensorflow_hlo import Operator, compiled_operators

HLO = """\
HloModule a_inference_call, is_scheduled=true, entry_computation_layout={(f32[1,8,8,3]{3,2,1,0})->(f32[1,4]{1,0})}

%fused_computation (param_0: f32[1,4,4,6], param_1: f32[6]) -> f32[1,4,4,6] {
  %param_0 = f32[1,4,4,6]{3,2,1,0} parameter(0)
  %param_1 = f32[6]{0} parameter(1)
  %broadcast.1 = f32[1,4,4,6]{3,2,1,0} broadcast(%param_1), dimensions={3}
  %add.1 = f32[1,4,4,6]{3,2,1,0} add(%param_0, %broadcast.1), metadata={op_type="BiasAdd"}
  ROOT %maximum.1 = f32[1,4,4,6]{3,2,1,0} maximum(%add.1, %broadcast.1)
}

%fused_dot (param_0.1: bf16[1,6], param_1.1: bf16[6,4]) -> f32[1,4] {
  %param_0.1 = bf16[1,6]{1,0} parameter(0)
  %param_1.1 = bf16[6,4]{1,0} parameter(1)
  %dot.1 = f32[1,4]{1,0} dot(%param_0.1, %param_1.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %negate.1 = f32[1,4]{1,0} negate(%dot.1)
}

%parallel (p: f32[1,4]) -> f32[1,4] {
  %p = f32[1,4]{1,0} parameter(0)
  ROOT %exponential.1 = f32[1,4]{1,0} exponential(%p)
}

ENTRY %main (arg0: f32[1,8,8,3], arg1: f32[3,3,1,6], arg2: f32[6]) -> (f32[1,4]) {
  %arg0 = f32[1,8,8,3]{3,2,1,0} parameter(0)
  %arg1 = f32[3,3,1,6]{3,2,1,0} parameter(1)
  %arg2 = f32[6]{0} parameter(2)
  %depthwise = f32[1,4,4,6]{3,2,1,0} convolution(%arg0, %arg1), window={size=3x3 stride=2x2}, dim_labels=b01f_01io->b01f, feature_group_count=3
  %fusion = f32[1,4,4,6]{3,2,1,0} fusion(%depthwise, %arg2), kind=kLoop, calls=%fused_computation
  %left = bf16[1,6]{1,0} custom-call(%fusion), custom_call_target="PoolToFeatures"
  %right = bf16[6,4]{1,0} constant({...})
  %fusion.1 = f32[1,4]{1,0} fusion(%left, %right), kind=kOutput, calls=%fused_dot
  %call = f32[1,4]{1,0} call(%fusion.1), to_apply=%parallel
  ROOT %tuple = (f32[1,4]{1,0}) tuple(%call)
}
"""  # noqa: E501 - as XLA writes it


def test_instructions_that_work_are_told_with_what_they_hold():
    assert compiled_operators(HLO, "cpu") == [
        Operator("convolution", "cpu", "fp32", 4 * 4 * 6 * 9),
        Operator("add+maximum", "cpu", "fp32"),
        Operator("custom-call PoolToFeatures", "cpu", "bf16"),
        Operator("dot+negate", "cpu", "bf16", 24),
        Operator("exponential", "cpu", "fp32"),
    ]


def test_zeros_between_the_inputs_of_a_transposed_convolution_do_not_count():
    text = HLO.replace("window={size=3x3 stride=2x2}", "window={size=3x3 lhs_dilate=2x2}")
    assert compiled_operators(text, "cpu")[0].macs == 4 * 4 * 6 * 9 // 4


@pytest.mark.parametrize("target", ["__onednn$convolution", "__cublas$gemm", "__onednn$matmul"])
def test_work_handed_to_a_library_is_not_guessed(target):
    operator = compiled_operators(HLO.replace("PoolToFeatures", target), "cpu")[2]
    assert target in operator.unread
    assert operator.macs == 0


def test_what_is_no_hlo_is_refused():
    with pytest.raises(ValueError, match="no entry computation"):
        compiled_operators("HloModule nothing", "cpu")
