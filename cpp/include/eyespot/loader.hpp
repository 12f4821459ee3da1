#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "eyespot/error.hpp"
#include "eyespot/image.hpp"
#include "eyespot/runtime.hpp"

// Files to ordered batches of model inputs, on a ThreadPool, in memory that does not grow with the
// number of images.

namespace eyespot {

/// A file to read when its turn comes, by its path in the system's encoding.
struct FileSource {
  std::string path;
};
/// A whole encoded image in memory; the bytes must outlive the Loader.
struct BytesSource {
  std::span<const std::uint8_t> bytes;
};
/// Upright RGB pixels in memory; they must outlive the Loader.
struct PixelsSource {
  ImageView image;
};
/// An item that the caller fills: the loader leaves its slot alone and lists it in
/// LoadedBatch::pending.
struct PendingSource {};

/// One item of the list to load.
using ImageSource = std::variant<FileSource, BytesSource, PixelsSource, PendingSource>;

/// How items become numbers: the item at position `index` of the list, by a worker with a number of
/// its own in [0, pool size), so that scratch memory can be kept by worker. Called by several
/// workers at a time. Both may throw: an Error about the
/// item (io, unsupported_format, corrupt_image, limit_exceeded, out_of_memory) or std::bad_alloc
/// becomes an ItemError of the batch; everything else ends the run and comes out of next().
struct ItemDecoder {
  /// Bytes that each item fills.
  std::size_t item_bytes = 0;
  std::function<void(std::span<const std::uint8_t> bytes, std::string_view source, void* out,
                     std::size_t index, std::size_t worker)>
      from_bytes;
  std::function<void(ImageView image, std::string_view source, void* out, std::size_t index,
                     std::size_t worker)>
      from_pixels;
};

struct LoaderOptions {
  std::size_t batch_size = 32;
  /// Batches in work or ready, beside those that the caller holds. 0: two, or as many as give every
  /// worker two items.
  std::size_t prefetch = 0;
  /// Without a pool: threads that may be in next() at a time; another one waits for its turn.
  std::size_t callers = 1;
  /// A larger file is an ItemError (limit_exceeded), found before it is read.
  std::uint64_t max_file_bytes = 536'870'912;  // 512 MiB
};

class PixelPool;  // private to the library

/// Memory of one batch, 64-byte aligned, owned. Gives it back to its loader's pool when destroyed,
/// on any thread, also after the loader has gone.
class PixelBuffer {
 public:
  PixelBuffer() = default;
  PixelBuffer(std::shared_ptr<PixelPool> pool, std::byte* data) noexcept
      : pool_(std::move(pool)), data_(data) {}
  PixelBuffer(PixelBuffer&& other) noexcept
      : pool_(std::move(other.pool_)), data_(std::exchange(other.data_, nullptr)) {}
  PixelBuffer& operator=(PixelBuffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    return *this;
  }
  PixelBuffer(const PixelBuffer&) = delete;
  PixelBuffer& operator=(const PixelBuffer&) = delete;
  ~PixelBuffer();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }

 private:
  std::shared_ptr<PixelPool> pool_;
  std::byte* data_ = nullptr;
};

/// A run of neighbouring items, in the order of the list.
struct LoadedBatch {
  std::size_t first = 0;  ///< position of the first item in the list
  std::size_t count = 0;  ///< items, good and bad; only the last batch is shorter than batch_size
  /// count * item_bytes; the slots of failed and pending items hold rubbish.
  PixelBuffer pixels;
  std::vector<ItemError> errors;     ///< in order
  std::vector<std::size_t> pending;  ///< positions in the list, in order
};

/// Loads a list of images in order. At most `prefetch` batches are in work or ready at a time, and
/// buffers are used again, so memory does not depend on the length of the list. Work starts at the
/// first next(). Results do not depend on the number of threads.
///
/// With a null pool, the thread that calls next() decodes the batch that it gets, and nothing is
/// decoded ahead: pixels are still in its cache when next() returns.
///
/// next() may be called from several threads; each batch goes to one of them. The destructor stops
/// the work; it waits only for workers that are reading the caller's own memory (BytesSource,
/// PixelsSource), for the time of one image.
class Loader {
 public:
  /// Throws Error(invalid_argument) for batch_size 0 or item_bytes 0, or neither pool nor callers;
  /// Error(limit_exceeded) when the size of a batch overflows.
  Loader(std::vector<ImageSource> sources, ItemDecoder decoder, const LoaderOptions& options,
         std::shared_ptr<ThreadPool> pool, CancelToken cancel = {});
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch, or none after the last one. The calling thread waits and calls `poll`; what
  /// poll throws travels on, and next() may be called again after it. Throws Error(cancelled)
  /// within kPollInterval of the token's cancel() (without a pool: after the image at hand, and
  /// `poll` is not called), Error(forked) in a forked child, and, when the
  /// turn of its batch has come and at every call after that, what ended the run (ItemDecoder).
  [[nodiscard]] std::optional<LoadedBatch> next(const Poll& poll = {});

  /// Stops the work as the destructor does; next() then gives none. Safe to call twice.
  void close() noexcept;

  [[nodiscard]] std::size_t size() const noexcept;
  /// Buffers that were ever allocated: the ring, plus what the caller held at the same time.
  [[nodiscard]] std::size_t buffers_allocated() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::shared_ptr<ThreadPool> pool_;
};

/// What an item is called in errors: a file's path, or "<bytes #3>", "<array #3>", "<image #3>"
/// with the position in the list.
[[nodiscard]] std::string source_name(const ImageSource& source, std::size_t index);

}  // namespace eyespot
