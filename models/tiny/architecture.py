"""What the tiny model is made of: Gemma 4 E2B's traits, small.

Every trait of E2B is there: sliding and full layers 4:1 with different head sizes,
proportional RoPE in the full ones, per-layer embeddings, keys and values shared by the
last layers, which are double wide, a vision tower with 2-D positions and pooling of
3 by 3 patches, a conformer audio tower, clipped linears, tied embeddings, a soft cap.
About 13.7 million parameters.
"""

from __future__ import annotations

from typing import Any

from models.tiny.tokenizer import IDS, NEVER, STOP, VOCAB_SIZE

HIDDEN = 256
LAYERS = 10
LAYER_TYPES: tuple[str, ...] = (("sliding_attention",) * 4 + ("full_attention",)) * 2
SHARED_LAYERS = 4
HEADS = 4
HEAD_DIM = 64
FULL_HEAD_DIM = 128
MLP = 384
PLE = 16
SLIDING_WINDOW = 512
SOFT_CAP = 30.0
ROPE_THETA = {"sliding_attention": 10_000.0, "full_attention": 1_000_000.0}
FULL_ROPE_FACTOR = 0.25

VISION_HIDDEN = 192
VISION_LAYERS = 4
VISION_HEADS = 4
VISION_MLP = 512
VISION_ROPE_THETA = 100.0
PATCH = 16
POOLING = 3
#: Rows for every picture that a budget of 1120 allows, down to a strip one token high.
POSITIONS = 1120 * POOLING

AUDIO_HIDDEN = 192
AUDIO_LAYERS = 4
AUDIO_HEADS = 4
AUDIO_CHANNELS = (128, 32)
AUDIO_CONV = 5
AUDIO_CHUNK = 12
AUDIO_LEFT = 13
AUDIO_CAP = 50.0
EPS = 1e-6


def config() -> dict[str, Any]:
    """The checkpoint's config.json, in the form in which Gemma 4's own is published."""
    return {
        "architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4",
        # Of the whole alone: vLLM in float32 would keep a tower that names its own type.
        "dtype": "bfloat16",
        "tie_word_embeddings": True,
        "initializer_range": 0.02,
        "bos_token_id": IDS["<bos>"],
        "pad_token_id": IDS["<pad>"],
        "eos_token_id": [IDS[token] for token in STOP],
        "boi_token_id": IDS["<|image>"],
        "image_token_id": IDS["<|image|>"],
        "eoi_token_id": IDS["<image|>"],
        "boa_token_id": IDS["<|audio>"],
        "audio_token_id": IDS["<|audio|>"],
        "eoa_token_id": IDS["<audio|>"],
        "eoa_token_index": IDS["<audio|>"],
        "video_token_id": IDS["<|video|>"],
        "vision_soft_tokens_per_image": 280,
        "text_config": _text(),
        "vision_config": _vision(),
        "audio_config": _audio(),
    }


def generation_config() -> dict[str, Any]:
    """Greedy, and without the tokens that only prompts may hold."""
    return {
        "do_sample": False,
        # vLLM reads the temperature alone.
        "temperature": 0.0,
        "bos_token_id": IDS["<bos>"],
        "pad_token_id": IDS["<pad>"],
        "eos_token_id": [IDS[token] for token in STOP],
        "suppress_tokens": [IDS[token] for token in NEVER],
    }


def processor_config() -> dict[str, Any]:
    """Gemma 4's processor as it is published: budgets 280 and 70, 40 ms a soft token."""
    picture = {
        "do_convert_rgb": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "patch_size": PATCH,
        "pooling_kernel_size": POOLING,
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    return {
        "processor_class": "Gemma4Processor",
        "audio_ms_per_token": 40,
        "audio_seq_length": 750,
        "image_seq_length": 280,
        "feature_extractor": {
            "feature_extractor_type": "Gemma4AudioFeatureExtractor",
            "feature_size": 128,
            "sampling_rate": 16000,
        },
        "image_processor": {
            **picture,
            "do_normalize": False,
            "image_processor_type": "Gemma4ImageProcessor",
            "image_seq_length": 280,
            "max_soft_tokens": 280,
        },
        "video_processor": {
            **picture,
            "do_normalize": True,
            "do_sample_frames": True,
            "max_soft_tokens": 70,
            "num_frames": 32,
            "return_metadata": False,
            "video_processor_type": "Gemma4VideoProcessor",
        },
    }


def _text() -> dict[str, Any]:
    return {
        "model_type": "gemma4_text",
        "vocab_size": VOCAB_SIZE,
        "vocab_size_per_layer_input": VOCAB_SIZE,
        "hidden_size": HIDDEN,
        "hidden_size_per_layer_input": PLE,
        "intermediate_size": MLP,
        "use_double_wide_mlp": True,
        "num_hidden_layers": LAYERS,
        "num_kv_shared_layers": SHARED_LAYERS,
        "layer_types": list(LAYER_TYPES),
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "num_global_key_value_heads": None,
        "head_dim": HEAD_DIM,
        "global_head_dim": FULL_HEAD_DIM,
        "sliding_window": SLIDING_WINDOW,
        "rope_parameters": {
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": ROPE_THETA["sliding_attention"],
            },
            "full_attention": {
                "rope_type": "proportional",
                "partial_rotary_factor": FULL_ROPE_FACTOR,
                "rope_theta": ROPE_THETA["full_attention"],
            },
        },
        "hidden_activation": "gelu_pytorch_tanh",
        "final_logit_softcapping": SOFT_CAP,
        "rms_norm_eps": EPS,
        "max_position_embeddings": 131072,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attention_k_eq_v": False,
        "use_bidirectional_attention": None,
        "enable_moe_block": False,
        "num_experts": None,
        "top_k_experts": None,
        "moe_intermediate_size": None,
        "tie_word_embeddings": True,
        "use_cache": True,
        "pad_token_id": IDS["<pad>"],
        "eos_token_id": IDS["<eos>"],
        "bos_token_id": IDS["<bos>"],
        "initializer_range": 0.02,
    }


def _vision() -> dict[str, Any]:
    return {
        "model_type": "gemma4_vision",
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": VISION_MLP,
        "num_hidden_layers": VISION_LAYERS,
        "num_attention_heads": VISION_HEADS,
        "num_key_value_heads": VISION_HEADS,
        "head_dim": VISION_HIDDEN // VISION_HEADS,
        "global_head_dim": VISION_HIDDEN // VISION_HEADS,
        "hidden_activation": "gelu_pytorch_tanh",
        "patch_size": PATCH,
        "pooling_kernel_size": POOLING,
        "position_embedding_size": POSITIONS,
        "default_output_length": 280,
        "use_clipped_linears": True,
        "standardize": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": VISION_ROPE_THETA},
        "max_position_embeddings": 131072,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "rms_norm_eps": EPS,
        "initializer_range": 0.02,
    }


def _audio() -> dict[str, Any]:
    return {
        "model_type": "gemma4_audio",
        "hidden_size": AUDIO_HIDDEN,
        "num_hidden_layers": AUDIO_LAYERS,
        "num_attention_heads": AUDIO_HEADS,
        "hidden_act": "silu",
        "subsampling_conv_channels": list(AUDIO_CHANNELS),
        "conv_kernel_size": AUDIO_CONV,
        "residual_weight": 0.5,
        "attention_chunk_size": AUDIO_CHUNK,
        "attention_context_left": AUDIO_LEFT,
        "attention_context_right": 0,
        "attention_logit_cap": AUDIO_CAP,
        "attention_invalid_logits_value": -1e9,
        "use_clipped_linears": True,
        "gradient_clipping": 1e10,
        "output_proj_dims": HIDDEN,
        "rms_norm_eps": EPS,
        "initializer_range": 0.02,
    }
