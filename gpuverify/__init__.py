"""gpuverify: does what this GPU shows contradict what it was sold as?"""

__version__ = "0.1.0"
