#include "kernels.hpp"

namespace eyespot::detail {

const AugmentKernels& augment_kernels() {
  return scalar_augment_kernels();
}

}  // namespace eyespot::detail
