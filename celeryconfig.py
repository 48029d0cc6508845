"""Celery's settings, each with its reason.

Celery here moves messages that may be lost, doubled or late; what must be true is kept by leases and by deriving again
(docs/architecture.md).
"""

from kombu import Exchange, Queue

from supervisor import address
from supervisor.keys import celery_prefix
from supervisor.settings import Settings

_settings = Settings.from_env()

broker_url = address.broker_url(_settings.redis_url, _settings.access.password)
broker_use_ssl = (
    _settings.access.tls
    if address.is_encrypted(_settings.redis_url)
    else None  # kombu alone would believe any certificate
)
result_backend = (
    None  # outcomes are written by end.lua, with the lease; a result backend would cost two more round trips
)
task_ignore_result = True

broker_transport_options = {
    "global_keyprefix": celery_prefix(_settings.namespace),  # installations can share a Redis
    "socket_timeout": 5,  # the default waits for ever on a hung Redis
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,
    "priority_steps": [0],  # one list per queue instead of four to poll
    "queue_order_strategy": "round_robin",
    **address.broker_options(
        _settings.redis_url, _settings.access
    ),  # which service, and to give up on a silent sentinel soon
}
broker_connection_retry_on_startup = True
broker_channel_error_retry = True  # a full Redis, or a demoted one, refuses single commands: wait, do not end
broker_connection_max_retries = None  # for ever: Redis comes back, and the executor must not need a person then

task_acks_late = True  # with prefetch 1: an executor takes only what it runs, and holds it in memory (decision 0011)
task_reject_on_worker_lost = False  # True would run an action that kills its process again and again
worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = False  # finish; the lease decides what the result is worth
worker_concurrency = _settings.slots
worker_enable_remote_control = _settings.remote_control == "on"  # Flower asks executors through it; docs/security.md
worker_send_task_events = True  # Flower's history: three events for an action, none for a tick (tasks.py)
worker_consumer = "supervisor.consumer:Consumer"  # sends them in bulk
task_send_sent_event = False  # one series per publisher process in Flower, and no news
control_queue_expires = 10.0  # seconds: reply queues of inspecting clients go away by themselves
worker_hijack_root_logger = False
worker_redirect_stdouts = False
worker_proc_alive_timeout = 30.0  # seconds: a pool process on a loaded edge box may take a while to start

task_serializer = "json"
accept_content = ["json"]  # never pickle
task_default_queue = "supervisor"
task_queues = (
    Queue("supervisor", routing_key="supervisor"),
    Queue("actions", Exchange("actions"), routing_key="actions"),  # bound to nothing that a node must not touch
)
task_create_missing_queues = True  # actions.<node>: a node joins by naming its queue
task_routes = {"supervisor.tick": {"queue": "supervisor"}}

beat_scheduler = "supervisor.pulse:PulseScheduler"  # beat is a dumb pulse, any number of them, without a file
beat_max_loop_interval = 1.0
beat_schedule = {"pulse": {"task": "supervisor.tick", "schedule": _settings.pulse}}
timezone = "UTC"
