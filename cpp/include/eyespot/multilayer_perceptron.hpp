#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "eyespot/lbfgs.hpp"
#include "eyespot/linalg.hpp"
#include "eyespot/runtime.hpp"
#include "eyespot/softmax_regression.hpp"

namespace eyespot {

/// One fully connected layer, not owned: weights row-major n_out x n_in, and bias n_out.
struct DenseView {
  std::span<const float> weights;
  std::span<const float> bias;
};

/// One fully connected layer, owned.
struct Dense {
  std::vector<float> weights;  ///< row-major, n_out x n_in
  std::vector<float> bias;     ///< n_out
};

/// Mean of each feature, and one over its standard deviation; 0 for a feature that does not vary.
struct FeatureScaling {
  std::vector<float> mean;
  std::vector<float> inverse;
};

/// Weighted, in two passes over the rows. Same bits for any number of threads.
[[nodiscard]] FeatureScaling feature_scaling(const LabelledRows& data, ThreadPool* pool,
                                             const Poll& poll);

/// Fully connected layers with ReLU between them and softmax at the end, on standardised features:
/// weighted mean log-loss plus l2 / 2 * sum of the squares of all weights, biases free of penalty.
/// One pass over the rows an evaluation, forward and back, in blocks that stay in cache; float32
/// products, float64 sums; blocks and order of sums follow from the shape, never from the number of
/// threads. Not convex: another start may end elsewhere. An object serves one thread at a time.
class PerceptronObjective {
 public:
  /// `hidden` are the widths of the hidden layers, at least one and none of them 0.
  /// The gradient norm is the max-norm over all variables, features standardised.
  /// Throws Error(invalid_argument) for a target outside [0, n_classes), a negative weight, weights
  /// that sum to 0, or such widths.
  PerceptronObjective(const LabelledRows& data, FeatureScaling scaling,
                      std::span<const std::size_t> hidden, double l2, ThreadPool* pool);
  ~PerceptronObjective();
  PerceptronObjective(const PerceptronObjective&) = delete;
  PerceptronObjective& operator=(const PerceptronObjective&) = delete;

  /// Number of variables: weights (row-major) and biases of each layer in turn.
  [[nodiscard]] std::size_t size() const noexcept;
  /// Value and gradient. Throws Error(cancelled) or what `poll` throws, at most 50 ms after the
  /// request.
  Evaluation evaluate(std::span<const double> v, std::span<double> gradient, const Poll& poll);
  /// Rows classified rightly at the point of the last evaluation.
  [[nodiscard]] std::size_t n_correct() const noexcept;

  /// Hidden weights uniform in +-sqrt(6 / n_in) by a counter-based generator keyed by (seed, layer,
  /// index); the last layer 0 but for biases that give the (smoothed) class frequencies, so that a
  /// permutation of the classes permutes the result. He and others, ICCV 2015, equation 10.
  [[nodiscard]] std::vector<double> start(std::uint64_t seed) const;
  /// Variables of given layers; the first takes the features as they are.
  [[nodiscard]] std::vector<double> variables(std::span<const DenseView> layers) const;
  /// Layers of given variables; the first takes the features as they are.
  [[nodiscard]] std::vector<Dense> solution(std::span<const double> v) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// What dense_layers makes of the last layer's sums.
enum class DenseOutput : std::uint8_t { linear, softmax };

/// out(i, c), row-major n_rows x n_out of the last layer: ReLU after every layer but the last.
/// Throws Error(invalid_argument) when the layers do not fit each other or the features. Same bits
/// for any number of threads.
void dense_layers(const RowsView& features, std::size_t n_rows, std::span<const DenseView> layers,
                  DenseOutput output, std::span<float> out, ThreadPool* pool, const Poll& poll);

}  // namespace eyespot
