"""Offloads: how a device works with tensors that lie in storage or across a link, one module each."""
