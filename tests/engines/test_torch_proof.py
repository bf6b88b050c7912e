"""What oneDNN's log, inductor's generated code and the two together tell of a torch model: pure parsing."""

import zipfile
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import torch_inductor, torch_onednn
from engines.torch_inductor import Inductor, keys
from engines.torch_proof import corrected, shares
from harness.errors import Unsupported

HEAD = "onednn_verbose,v1,primitive,exec,cpu,"
FLOAT = "src:f32::blocked:acdb::f0 wei:f32:a:blocked:Acdb8a::f0 bia:f32:a:blocked:a::f0 dst:f32::blocked:acdb::f0"


INT8 = (
    "src:u8::blocked:acdb::f0 wei:s8:ap:blocked:ABcd2b8a4b::f8:zpm1 bia:f32:a:blocked:a::f0 dst:f32::blocked:acdb::f0"
)
BF16 = "src:bf16::blocked:ab::f0 wei:bf16::blocked:ab::f0 dst:bf16::blocked:ab::f0"
WEIGHTS = "src:f32::blocked:ab::f0 wei:s8::blocked:ab::f0 dst:f32::blocked:ab::f0"
SCALES = "attr-scratchpad:user attr-scales:src0:0:f32+wei:1:f32 attr-zero-points:src0:0:s32 attr-post-ops:eltwise_relu"


@pytest.mark.parametrize(
    ("kernel", "rest", "macs"),
    [
        (
            "convolution,jit_uni_int8:avx2",
            f"forward_inference,{INT8},{SCALES},alg:convolution_direct,mb1_ic3oc8_ih16oh16kh3sh1dh0ph1_iw16ow16kw3sw1dw0pw1",
            {"int8": 16 * 16 * 8 * 3 * 9},
        ),
        (
            "convolution,jit:avx2",
            f"forward_inference,{FLOAT},,alg:convolution_direct,g4mb2_ic8oc16_ih6oh3kh3sh2dh0ph1_iw6ow3kw3sw2dw0pw1",
            {"fp32": 2 * 16 * 3 * 3 * (8 // 4) * 9},
        ),
        (
            "deconvolution,jit:avx2",
            f"forward_inference,{FLOAT},,alg:deconvolution_direct,mb1_ic8oc4_ih5oh10kh2sh2dh0ph0_iw5ow10kw2sw2dw0pw0",
            {"fp32": 8 * 5 * 5 * 4 * 4},
        ),
        ("inner_product,brgemm:avx2", f"forward_inference,{BF16},,,mb2ic8oc5", {"bf16": 80}),
        ("matmul,brg_matmul:avx2", f"undef,{FLOAT},,,3x4x8:3x8x5", {"fp32": 3 * 4 * 8 * 5}),
        ("matmul,jit:avx2", f"undef,{WEIGHTS},,,4x8:8x5", {"fp32": 160}),  # weights alone in 8 bits: products in float
        ("reorder,jit:uni", f"undef,{FLOAT},,,8x3x3x3", {}),
    ],
)
def test_a_line_of_onednn_tells_precision_and_work(kernel, rest, macs):
    executed = torch_onednn.parse(f"other output\n{HEAD}{kernel},{rest},0.25\n")
    assert executed.macs == macs
    assert executed.kernels == {kernel.replace(",", " "): 1}


@given(st.text())
def test_any_other_output_tells_nothing(text):
    assert torch_onednn.parse(text).macs == {}


def test_the_library_says_at_which_precision_its_part_of_the_program_ran():
    assert corrected({"fp32": 100}, {"int8": 99}) == {"int8": 99, "fp32": 1}
    assert corrected({"fp32": 100}, {}) == {"fp32": 100}
    assert corrected({"bf16": 100}, {"fp32": 100}) == {"fp32": 100}
    assert corrected({"bf16": 25, "fp32": 75}, {"bf16": 25}) == {"bf16": 25, "fp32": 75}
    assert corrected({}, {}) == {}


@given(
    st.dictionaries(st.sampled_from(["fp32", "bf16"]), st.integers(1, 10**12)),
    st.dictionaries(st.sampled_from(["fp32", "bf16", "int8"]), st.integers(1, 10**12)),
)
def test_no_work_is_lost_and_shares_sum_to_one(program, library):
    whole = corrected(program, library)
    assert abs(sum(whole.values()) - max(sum(program.values()), sum(library.values()))) <= 2
    if whole:
        assert sum(shares(whole).values()) == pytest.approx(1)


PYTHON = """
cpp_fused_declared_9 = async_compile.cpp_pybinding([], '''
    cpp_fused_not_a_call_0(
''')
class Runner:
    def call(self, args):
        arg0_1, = args
        cpp_fused_convolution_relu_0(arg0_1, buf0)
        buf1 = extern_kernels.convolution(buf0, arg1_1, stride=(1, 1))
        assert_size_stride(buf1, (1, 8), (8, 1), 'torch.ops.aten.convolution.default')
        buf2 = torch.ops.onednn.qconv_pointwise.default(buf1, 1.0)
        buf3 = torch.ops.onednn.qconv_pointwise.tensor(buf2, 1.0)
        cpp_fused_convolution_relu_1(buf3)
        triton_poi_fused_relu_2.run(buf3, 8)
        return (buf3, )

def benchmark():
    cpp_fused_convolution_relu_0()
"""
CPP = """
void cpp_fused_mean_0(const float*);
void AOTInductorModel::run_impl(
    AtenTensorHandle* input_handles
) {
    cpp_fused_mean_0((const float*)(arg4_1.data_ptr()));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mkldnn__convolution_pointwise(buf0, buf1, &buf3_handle));
    if (check) { assert_size_stride(buf3, {1L}, {8L}, "torch.ops.aten.convolution.default"); }
} // AOTInductorModel::run_impl
void other() { cpp_fused_mean_0(nullptr); }
"""


def test_calls_are_counted_in_the_body_of_the_generated_code_alone(tmp_path):
    file = tmp_path / "generated.py"
    file.write_text(PYTHON)
    assert torch_inductor.python_calls((file,)) == Counter(
        {"cpp_fused_convolution_relu": 2, "onednn.qconv_pointwise": 2, "convolution": 1, "triton_poi_fused_relu": 1}
    )
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("model/data/aotinductor/model/abc.wrapper.cpp", CPP)
        archive.writestr("model/data/aotinductor/model/abc.kernel.cpp", "cpp_fused_mean_0(")
    assert torch_inductor.package_calls(tmp_path / "model.pt2") == Counter(
        {"cpp_fused_mean": 1, "mkldnn__convolution_pointwise": 1}
    )


def test_settings_in_few_words_are_keys_of_inductor():
    assert keys(Inductor(), int8=False) == {"freezing": False}
    assert keys(Inductor(), int8=True) == {"freezing": True}
    assert keys(Inductor(memory="pool", freezing=True), int8=False) == {"memory_planning": True, "freezing": True}
    assert keys(Inductor(fusion=False), int8=False)["max_fusion_size"] == 1
    assert keys(Inductor(memory="none"), int8=False)["allow_buffer_reuse"] is False
    assert keys(Inductor(further={"freezing": True}), int8=False)["freezing"] is True


@pytest.mark.parametrize(
    ("settings", "told"),
    [(Inductor(mode="fastest"), "fastest"), (Inductor(memory="all"), "all"), (Inductor(freezing=False), "frozen")],
)
def test_settings_that_inductor_has_not_are_refused(settings, told):
    with pytest.raises(Unsupported, match=told) as caught:
        keys(settings, int8=True)
    assert caught.value.hint
