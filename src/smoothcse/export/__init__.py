"""Export to ONNX, OpenVINO and safetensors, with a comparison of the exported and the original model."""
