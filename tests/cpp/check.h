// The test framework: checks that print what they saw and count failures, and a context for loops.
// main() ends in `return test::report();`.
#pragma once

#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>

namespace test {

inline long n_checks = 0, n_failures = 0;
inline std::string context;  // of the case at hand, printed with its failures

inline bool record(bool ok, const char* file, int line, const char* text) {
  constexpr long kMostShown = 20;
  ++n_checks;
  if (ok) return true;
  if (++n_failures > kMostShown) return true;
  std::cerr << file << ':' << line << ": " << text;
  if (!context.empty()) std::cerr << "  [" << context << ']';
  std::cerr << '\n';
  return false;
}

template <class A, class B>
void check_equal(const A& a, const B& b, const char* file, int line, const char* text) {
  if (!record(a == b, file, line, text)) std::cerr << "  " << a << " != " << b << '\n';
}

// NaN is near NaN alone, an infinity near itself alone.
inline bool near(double actual, double expected, double tolerance) {
  if (std::isnan(expected)) return std::isnan(actual);
  if (std::isinf(expected)) return actual == expected;
  return std::abs(actual - expected) <= tolerance;
}

inline void check_near(double actual, double expected, double tolerance, const char* file, int line,
                       const char* text) {
  if (record(near(actual, expected, tolerance), file, line, text)) return;
  std::fprintf(stderr, "  %.17g, expected %.17g, off by %.3g, tolerance %.3g\n", actual, expected,
               std::abs(actual - expected), tolerance);
}

template <class Exception, class F>
void check_throws(const F& f, const std::string& words, const char* file, int line,
                  const char* text) {
  std::string what = "nothing thrown";
  bool ok = false;
  try {
    f();
  } catch (const Exception& e) {
    what = e.what();
    ok = what.find(words) != std::string::npos;
  }
  if (!record(ok, file, line, text)) std::cerr << "  " << what << '\n';
}

inline int report() {
  std::cout << n_checks << " checks, " << n_failures << " failures\n";
  return n_failures > 0 || n_checks == 0;
}

}  // namespace test

#define CHECK(condition) test::record(condition, __FILE__, __LINE__, #condition)
#define CHECK_EQ(a, b) test::check_equal(a, b, __FILE__, __LINE__, #a " == " #b)
#define CHECK_NEAR(actual, expected, tolerance)                                \
  test::check_near(static_cast<double>(actual), static_cast<double>(expected), \
                   static_cast<double>(tolerance), __FILE__, __LINE__, #actual " ~ " #expected)
// expression must throw the exception, with these words in its message.
#define CHECK_THROWS(Exception, words, expression) \
  test::check_throws<Exception>([&] { expression; }, words, __FILE__, __LINE__, #expression)
