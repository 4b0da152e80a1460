"""Nodes that Ray's autoscaler starts on this machine, as Ray's own fakes do, with forked workers.

Ray's monitor imports it: `provider: {type: external, module: …}` in the autoscaler's configuration.
"""

from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

from tests.forked_workers import LIGHT_NODE, give_to_new_nodes

give_to_new_nodes(LIGHT_NODE)
LightProvider = FakeMultiNodeProvider
