// Every public header, and one call that needs threads and kernels.
#include <fastsoftmax/checks.h>
#include <fastsoftmax/functions.h>
#include <fastsoftmax/isa.h>
#include <fastsoftmax/logistic.h>
#include <fastsoftmax/matrix.h>
#include <fastsoftmax/objective.h>
#include <fastsoftmax/sgd.h>
#include <fastsoftmax/stop.h>
#include <fastsoftmax/threads.h>

#include <cstdio>

int main() {
  const double logits[2] = {0.0, 0.0};
  double probs[2] = {};
  fastsoftmax::softmax(logits, 1, 2, probs, 2);
  std::printf("%s: %g %g\n", fastsoftmax::active_isa().c_str(), probs[0], probs[1]);
  return probs[0] == 0.5 && probs[1] == 0.5 ? 0 : 1;
}
