"""LightningModules that train any classification network."""

from lit_modules.classifier import LitClassifier
from lit_modules.googlenet import LitGoogLeNet
from lit_modules.schedules import Schedules, WarmupCosine

__all__ = ["LitClassifier", "LitGoogLeNet", "Schedules", "WarmupCosine"]
