// Fits a softmax regression with eyespot's solver, without Python: five clouds of points in 32
// dimensions, whose features differ a thousandfold in scale. Ends with status 0 when the solver
// converged and the held-out points are classified as well as clouds so far apart must be.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "eyespot/lbfgs.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"

namespace {

constexpr std::size_t kFeatures = 32;
constexpr std::size_t kClasses = 5;
constexpr std::size_t kTrain = 2000;
constexpr std::size_t kTest = 500;

struct Points {
  std::vector<float> features;  // n x kFeatures
  std::vector<std::int32_t> classes;

  [[nodiscard]] eyespot::RowsView rows() const {
    return {.data = features.data(), .cols = kFeatures, .stride = kFeatures, .rows = nullptr};
  }
};

Points draw(std::size_t n, const std::vector<float>& centres, std::mt19937& random) {
  std::normal_distribution<float> noise;
  Points points;
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t c = i % kClasses;
    for (std::size_t j = 0; j < kFeatures; ++j) {
      const auto scale = std::pow(10.0F, -3.0F * static_cast<float>(j) / kFeatures);
      points.features.push_back(scale * (centres[c * kFeatures + j] + noise(random)));
    }
    points.classes.push_back(static_cast<std::int32_t>(c));
  }
  return points;
}

double accuracy(const Points& points, std::span<const float> weights, std::span<const double> bias,
                eyespot::ThreadPool& pool) {
  const std::size_t n = points.classes.size();
  std::vector<float> probabilities(n * kClasses);
  eyespot::softmax_probabilities(points.rows(), n, weights, bias, probabilities, &pool, {});
  std::size_t right = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::span row = std::span(probabilities).subspan(i * kClasses, kClasses);
    right += std::ranges::max_element(row) - row.begin() == points.classes[i] ? 1U : 0U;
  }
  return static_cast<double>(right) / static_cast<double>(n);
}

int run() {
  std::mt19937 random(1);
  std::normal_distribution<float> noise;
  std::vector<float> centres(kClasses * kFeatures);
  for (float& value : centres) value = noise(random);
  const Points train = draw(kTrain, centres, random);
  const Points test = draw(kTest, centres, random);

  eyespot::ThreadPool pool;
  const eyespot::LabelledRows data{.features = train.rows(),
                                   .n_rows = kTrain,
                                   .n_classes = kClasses,
                                   .targets = train.classes.data(),
                                   .weights = nullptr};
  const double l2 = 1e-4;
  eyespot::LinearFit fit =
      eyespot::softmax_fit(data, l2, eyespot::LbfgsOptions{.memory = 0}, &pool, {});

  // One step a call: the progress may be looked at, stored or dropped between two of them.
  fit.start({}, {});
  const eyespot::LbfgsState& state = fit.progress().minimiser;
  const double before = state.value;
  while (state.iteration < 200 && fit.step({}) == eyespot::StopReason::running) {
  }

  std::vector<float> weights(kClasses * kFeatures);
  std::vector<double> bias(kClasses);
  fit.solution(weights, bias);
  const double right = accuracy(test, weights, bias, pool);

  const auto reason = eyespot::stop_reason_name(state.stop);
  const auto target = eyespot::simd_target();
  std::printf("loss %.6f, from %.6f, after %llu iterations\n", state.value, before,
              static_cast<unsigned long long>(state.iteration));
  std::printf("stopped: %.*s\n", static_cast<int>(reason.size()), reason.data());
  std::printf("accuracy on held-out points: %.3f\n", right);
  std::printf("SIMD target %.*s, %zu threads\n", static_cast<int>(target.size()), target.data(),
              pool.size());
  return state.stop == eyespot::StopReason::converged && right > 0.97 ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "native_solver: %s\n", error.what());
    return 2;
  }
}
