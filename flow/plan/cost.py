# SPDX-License-Identifier: Apache-2.0
"""PROVISIONAL: stands in until the fitted cost model is there."""
from dataclasses import dataclass
from flow.plan.resources import Resources as R
@dataclass(frozen=True)
class MatrixVector:
    inputs:int; outputs:int; positions:int; pe:int; simd:int; weight_bits:int; input_bits:int; acc_bits:int; xnor:bool; weight_memory:str; multiplier:str
@dataclass(frozen=True)
class StepHardware:
    form:str; channels:int; pe:int; in_bits:int; out_bits:int; levels:int; factor_bits:int; bias_bits:int; multiplier:str
def l(x): return R(int(x)+1,int(x)+1,0,0,0)
def rom(d,w,m):
    if m=='bram': return R(0,0,0,max(1,-(-w//36))*max(1,-(-d//512)),0)
    return R(-(-d//64)*w,w,0,0,0)
def matrix_vector(c,k):
    n=c.pe*c.simd
    p=R(0,n,n,0,0) if c.multiplier=='dsp' and not c.xnor else l(n*(1 if c.xnor else c.weight_bits*c.input_bits))
    return {'product':p,'adder_tree':l(n*(c.weight_bits+c.input_bits)),'accumulator':l(c.pe*c.acc_bits),'weight_memory':rom(c.outputs*c.inputs//n,c.weight_bits*c.simd,c.weight_memory).scaled(c.pe),'input_buffer':l(c.simd*c.input_bits),'control':l(150)}
def step_function(c,k):
    if c.form=='wire': return R.zero()
    f={'shift':c.in_bits*2,'multiply_shift':c.in_bits*c.factor_bits,'thresholds':c.levels*c.in_bits,'search':40*c.in_bits,'table':2**c.in_bits*c.out_bits/64*c.channels}[c.form]
    return l(f*c.pe)
def fifo(d,w): return l(w)
def width_converter(a,b,w): return l((a+b)*w)
def stream_reader(a,b,w,x): return l((a+b)*w)
stream_writer=stream_reader
def shell(f): return R(4000,5000,0,4,0)
class E:
    def sentence(self,n): return 'unknown'
def error_of_model(): return E()
