"""A local emulation of CAMS that checks signatures, keeps state and injects faults. Nothing leaves the machine."""

from cams_mcp.sandbox.faults import FAULTS, Fault, Faults
from cams_mcp.sandbox.gateway import WireRequest
from cams_mcp.sandbox.service import SANDBOX_KEY, ExecutedCall, HttpReply, Sandbox
from cams_mcp.sandbox.transport import SandboxTransport, sandbox_app

__all__ = [
    "FAULTS",
    "SANDBOX_KEY",
    "ExecutedCall",
    "Fault",
    "Faults",
    "HttpReply",
    "Sandbox",
    "SandboxTransport",
    "WireRequest",
    "sandbox_app",
]
