"""`tcp_service`, `http_service`, `mqtt`, `opcua`: what answers on a network; a process of ours, or watched only.

One machine for all of them; they differ in how they are asked (`look_*.py`). Degraded is what has answered before and
does not any more, or answers later than `max_latency`.
"""
