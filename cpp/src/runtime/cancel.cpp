#include "eyespot/error.hpp"
#include "eyespot/runtime.hpp"

namespace eyespot {

void CancelToken::throw_if_cancelled() const {
  if (cancelled()) throw Error(ErrorCode::cancelled, "", "cancelled by the caller");
}

}  // namespace eyespot
