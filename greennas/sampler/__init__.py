"""The search strategy, as an Optuna sampler that any study can use."""

from greennas.sampler.candidates import Candidate
from greennas.sampler.green import GreenSampler
from greennas.sampler.proposal import Probe, Proposal, Screened, Shortlist

__all__ = ["Candidate", "GreenSampler", "Probe", "Proposal", "Screened", "Shortlist"]
