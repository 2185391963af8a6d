"""Tests of the ControlNets' system."""
