"""Export to ONNX, OpenVINO and safetensors."""
