"""The end of the process, whatever a thread is doing."""

import pytest
from reference import run_python

END_WHILE_A_THREAD_WORKS = """
import sys, threading, time
import numpy as np
import fastsoftmax as fs

x, y = np.ones((20_000, 300), "f4"), np.arange(20_000) % 3
if sys.argv[1] == "long fit":
    clf = fs.SoftmaxClassifier(max_iter=10**6)
elif "LogisticRegression" in sys.argv[1]:
    clf = fs.LogisticRegression(max_iter=2, tol=1)
else:
    clf = fs.SoftmaxClassifier(max_iter=2).fit(x[:100], y[:100])
calls = {
    "softmax": lambda: fs.softmax(x),
    "matmul": lambda: fs.matmul(x, x[:300]),
    "cross_entropy": lambda: fs.cross_entropy(x, y),
    "predict": lambda: clf.predict(x),
    "fit": lambda: clf.fit(x, y),
    "long fit": lambda: clf.fit(x, y),
    "LogisticRegression": lambda: clf.fit(x, y),
}

def work():
    while True:
        calls[sys.argv[1]]()

threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
"""


@pytest.mark.parametrize(
    "call",
    ["softmax", "matmul", "cross_entropy", "predict", "fit", "long fit", "LogisticRegression"],
)
def test_the_process_ends_while_a_daemon_thread_works(call):
    run_python(END_WHILE_A_THREAD_WORKS, call, timeout=60)
