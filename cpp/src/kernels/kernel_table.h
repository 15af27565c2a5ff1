// The kernels of one instruction set, as function pointers: two lines per kernel (a slot here, its
// function in fill_kernels-inl.h). Kernels are single-threaded, allocate nothing, throw nothing;
// they get pointers, sizes and strides (in elements), and no two outputs overlap.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsoftmax {

// Which blocks of features of a row are not all zero: bit j stands for the features from
// j * block_features on, block_features being the lanes of a vector. The features beyond the last
// whole block have no bit; they always count.
using BlockMask = std::uint64_t*;

// The most rows that a call of an update takes: it has their masks, or their dlogits, on its stack.
constexpr std::ptrdiff_t kMaxUpdateRows = 512;

// Logits of some rows (kernels/logits-inl.h).
template <class In, class Acc>
struct LogitsArgs {
  const In* const* rows;  // (n_rows) rows of X
  const In* const* next;  // (n_next) rows to fetch into the cache meanwhile
  std::ptrdiff_t n_rows, n_next;
  std::ptrdiff_t n_features, n_classes;
  const Acc* W;  // (n_classes, n_features), class-major
  Acc* logits;   // (n_rows, n_classes) = rows . W', contiguous
};

// Training keeps the weights of a slice of features in panels: classes in groups of at most 16
// whose sizes differ by one at the most; for each group its panel, (grains, classes, 16): 16
// features of each class side by side, then the next 16 features. A tile of any instruction set
// then finds its weights on one run of whole cache lines. Beyond the last feature there are zeros.
constexpr std::ptrdiff_t kGrain = 16, kGroupClasses = 16;

// What the passes over the slice have in common.
template <class In, class Acc>
struct SliceOfRows {
  const In* const* rows;   // (n_rows) rows of X
  const BlockMask* masks;  // (n_rows): word w of the slice at [first_word + w]
  std::ptrdiff_t n_rows;
  std::ptrdiff_t first_feature;  // of the slice, in the rows
  std::ptrdiff_t first_word;     // of the slice, in the masks
  std::ptrdiff_t n_features, n_classes;
  std::ptrdiff_t panel_stride;  // features of a panel, a multiple of kGrain
};

// The slice of rows that are needed later, to be fetched into the cache meanwhile.
template <class In>
struct LaterRows {
  const In* const* rows;
  std::ptrdiff_t n;
};

// The sums over the features of a slice of X W': parts of the logits (kernels/panel_logits-inl.h).
template <class In, class Acc>
struct PanelLogits : SliceOfRows<In, Acc> {
  bool masks_known;  // else panel_logits_blocks finds them
  LaterRows<In> later;
  const Acc* W;  // panels
  Acc* sums;     // (n_rows, n_classes), row_stride apart
  std::ptrdiff_t row_stride;
};

// What a step of gradient descent does to weights, in whatever order they lie
// (kernels/weight_step-inl.h).
template <class Acc>
struct WeightStep {
  Acc* W;
  Acc* velocity;     // like W, or null without momentum
  Acc* gradient;     // like W: the sum over earlier row chunks of the batch, or null
  bool first_chunk;  // the gradient holds nothing yet
  bool last_chunk;   // apply the step, rather than store the gradient
  Acc learning_rate, alpha, momentum, input_scale;
  bool nesterov;
};

// A step of gradient descent for some features of a slice, all in panels
// (kernels/panel_update-inl.h).
template <class In, class Acc>
struct PanelUpdate : SliceOfRows<In, Acc>, WeightStep<Acc> {
  const Acc* dlogits;  // (n_rows, n_classes), row_stride apart, already divided by the batch's size
  std::ptrdiff_t row_stride;
  std::ptrdiff_t begin, end;  // the features: multiples of kGrain, or the end of the slice
  LaterRows<In> later;        // panel_update fetches n_rows of them, or none if there are fewer
};

// Training for many classes keeps the weights in panels: for each step_columns classes
// (n_features, step_columns). Beyond the last class there are zeros.
template <class Acc>
struct PackedRows {
  const Acc* X;  // (n_rows, n_features), x_stride apart
  std::ptrdiff_t x_stride;
  std::ptrdiff_t n_rows, n_features, n_classes;
  std::ptrdiff_t first_panel, last_panel;  // the panels of W [first, last)
  // Bit f % 64 of word f / 64 of each row: feature f is not zero. For the kernels of these alone.
  const std::uint64_t* masks;
};

// X W' (kernels/packed_step-inl.h).
template <class Acc>
struct PackedLogits : PackedRows<Acc> {
  const Acc* W;
  Acc* logits;  // (n_rows, n_classes), row_stride apart, rows padded to whole panels
  std::ptrdiff_t row_stride;
};

// A step of gradient descent (kernels/packed_step-inl.h).
template <class Acc>
struct PackedUpdate : PackedRows<Acc>, WeightStep<Acc> {
  const Acc* dlogits;  // likewise, already divided by the batch's size, with zeros as padding
  std::ptrdiff_t row_stride;
  std::ptrdiff_t begin, end;  // the features
};

// Training on bytes splits numbers into digits that are bytes as well (kernels/byte_step-inl.h).
// The sums of two digits over so many rows, and those of one over so many features, are below 2^31:
// 256 * 255 * 128 * 257, 65536 * 255 * 128.
constexpr std::ptrdiff_t kMaxByteRows = 256, kMaxByteClasses = 31, kMaxByteFeatures = 65536;
struct ByteSlice {
  const std::uint8_t* const* rows;  // (n_rows) rows of X
  std::ptrdiff_t n_rows;
  std::ptrdiff_t first_feature, n_features, n_classes;
  std::ptrdiff_t row_bytes;  // n_features rounded up to a multiple of 64, or more
  LaterRows<std::uint8_t> later;
};
// The weights of a slice, (n_features / 16, rounded up to a multiple of 4; n_classes; 16), to
// digits.
struct SplitWeights {
  const float* W;
  std::ptrdiff_t n_features, n_classes, digit_stride;
  std::uint8_t* digits;  // (n_features / 4, 3 n_classes, 4), digit_stride bytes apart
  float* per_unit;       // (n_classes) what they are digits of: W times so much
};
struct ByteLogits : ByteSlice {
  const std::uint8_t* digits;
  std::ptrdiff_t digit_stride;
  const float* per_unit;
  std::uint8_t* by_row;  // (32, row_bytes): scratch
  float* sums;           // (n_rows, n_classes), row_stride apart
  std::ptrdiff_t row_stride;
};
struct ByteUpdate : ByteSlice, WeightStep<float> {
  std::uint8_t* by_feature;  // (2, n_rows rounded up to a multiple of 64, 64): scratch
  const float* dlogits;      // (n_rows, n_classes), row_stride apart, divided by the batch's size
  std::ptrdiff_t row_stride;
  std::ptrdiff_t begin, end;  // the features: multiples of 64
};

// Fewer rows than this are not worth lanes: of 1, 4, 8 and 10 rows of ten classes one takes 107,
// 29, 16 and 15 ns there, and 63, 24, 19 and 18 by itself (float32, AVX-512, Zen 4).
constexpr std::ptrdiff_t kLaneRows = 8;

// The cross-entropy of rows whose logits are scale * (the sum over n_parts of parts) + b, with its
// gradient in them (kernels/cross_entropy_lanes-inl.h). Rows of parts are row_stride apart, those
// of dlogits dlogits_stride; of a row and of b whole vectors are read and written, whatever is in
// the last one. So models whose classes lie side by side are worked on from left to right, and not
// in place.
template <class Acc>
struct CrossEntropyArgs {
  const Acc* parts;  // (n_parts, n_rows, n_classes)
  std::ptrdiff_t n_parts, part_stride, row_stride, dlogits_stride;
  std::ptrdiff_t n_rows, n_classes;
  Acc scale;
  const Acc* b;                // (n_classes)
  const std::int64_t* labels;  // (n_rows) in 0..n_classes-1
  const Acc* weights;          // (n_rows), or null: ones
  Acc gradient_scale;
  Acc* dlogits;  // (n_rows, n_classes)
  Acc* losses;   // (n_rows)
  // The rows go one by one, as those of chunks of less than kLaneRows should. It decides how sums
  // are rounded, so it is the same for all threads that share a chunk.
  bool few_rows;
};

// Some entries of a row of a sparse X, with their features in one of the two arrays.
template <class In>
struct SparseRow {
  const In* values;
  const std::int32_t* indices;
  const std::int64_t* wide_indices;  // null: indices has them
  std::ptrdiff_t n_entries;
};

// Outputs that meet a sparse row number by number, and not in vectors.
constexpr std::ptrdiff_t kFewSparseOutputs = 4;

// Rows of softmax up to this size are read once, longer ones twice: a quarter of a second-level
// cache of 1 MB, for a row, its exponentials and the next row are in there.
constexpr std::ptrdiff_t kLongRowBytes = 256 << 10;

// Columns side by side, the numbers of one a stride apart; out has the same strides, and may be x,
// but a logsumexp is at its column's number. Those of up to kShortLength numbers are as many as one
// likes, of more up to a strip, with a scratch of n times a power of two of cache lines that holds
// their rows; of more than kLongRowBytes there are none here.
constexpr std::ptrdiff_t kShortLength = 32;
constexpr std::ptrdiff_t kStripBytes = 256;
template <class Acc>
struct ColumnArgs {
  const Acc* x;
  std::ptrdiff_t n, stride, n_columns;
  Acc* out;
  Acc* scratch;
};

// Kernels that work on numbers of one type.
template <class Acc>
struct ArithmeticKernels {
  // (n_rows, n) contiguous rows, softmax of each; out may be x.
  void (*softmax)(const Acc* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, Acc* out);
  void (*log_softmax)(const Acc* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, Acc* out);
  // The same bits, written past the cache; out is not x, scratch has min(n, kLongRowBytes /
  // sizeof(Acc)) elements.
  void (*softmax_streamed)(const Acc* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, Acc* scratch,
                           Acc* out);
  void (*log_softmax_streamed)(const Acc* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, Acc* out);
  void (*softmax_columns)(const ColumnArgs<Acc>&);
  void (*log_softmax_columns)(const ColumnArgs<Acc>&);
  void (*logsumexp_columns)(const ColumnArgs<Acc>&);
  // out (n_rows)
  void (*logsumexp)(const Acc* x, std::ptrdiff_t n_rows, std::ptrdiff_t n, Acc* out);
  // losses[i] = weight_i * -log softmax(logits_i)[labels_i]; dlogits, if not null (it may be
  // logits), = gradient_scale * d losses[i] / d logits_i. labels in 0..n-1; weights null means
  // ones.
  void (*cross_entropy)(const Acc* logits, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                        const std::int64_t* labels, const Acc* weights, Acc gradient_scale,
                        Acc* dlogits, Acc* losses);
  void (*cross_entropy_of_parts)(const CrossEntropyArgs<Acc>&);
  // The same of two classes, the logit of the first being zero: all is of the second alone, and
  // nothing else is touched.
  void (*logistic_of_parts)(const CrossEntropyArgs<Acc>&);
  // sums (n) += the sum of the rows of x, which are row_stride apart; both padded to whole vectors.
  void (*add_rows)(const Acc* x, std::ptrdiff_t row_stride, std::ptrdiff_t n_rows, std::ptrdiff_t n,
                   Acc* sums);
  // out (n_rows), where first_class is 0 or best < the largest of the logits (n_rows, n), rows
  // row_stride apart: first_class + the index of that, the first of equals; best = that logit. True
  // if all logits are finite.
  bool (*argmax)(const Acc* logits, std::ptrdiff_t row_stride, std::ptrdiff_t n_rows,
                 std::ptrdiff_t n, std::ptrdiff_t first_class, Acc* best, std::int64_t* out);
  // logits = scale * logits + b, (n_rows, n), rows row_stride apart; b may be null.
  void (*scale_and_shift)(Acc* logits, std::ptrdiff_t row_stride, std::ptrdiff_t n_rows,
                          std::ptrdiff_t n, Acc scale, const Acc* b);
  // out (n, k), rows out_stride apart, = the transpose of B (k, n), any strides.
  void (*transpose)(const Acc* B, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                    std::ptrdiff_t k, std::ptrdiff_t n, Acc* out, std::ptrdiff_t out_stride);
  // C (m, n) = A (m, k) . B (k, n), both packed (below), added to C if accumulate; C has contiguous
  // columns. An entry's bits depend on its row of A and column of B alone.
  void (*gemm)(const Acc* A, const Acc* B, std::ptrdiff_t m, std::ptrdiff_t k, std::ptrdiff_t n,
               Acc* C, std::ptrdiff_t c_row_stride, bool accumulate);
  // The same, to the same bits, of at most gemm_few_rows rows and a B that is not packed, whose
  // columns are contiguous. In tiles there is none, and the number is 0.
  void (*gemm_unpacked)(const Acc* A, const Acc* B, std::ptrdiff_t column_stride, std::ptrdiff_t m,
                        std::ptrdiff_t k, std::ptrdiff_t n, Acc* C, std::ptrdiff_t c_row_stride,
                        bool accumulate);
  std::ptrdiff_t gemm_few_rows;
  std::ptrdiff_t gemm_rows, gemm_columns;  // of a panel of packed A and of packed B
  // What of a panel a row of A or a column of B takes, in numbers.
  std::ptrdiff_t (*gemm_depth)(std::ptrdiff_t k);
  std::ptrdiff_t step_rows, step_columns;  // of the tiles of packed_update
  void (*packed_logits)(const PackedLogits<Acc>&);
  void (*packed_update)(const PackedUpdate<Acc>&);
  void (*packed_logits_nonzero)(const PackedLogits<Acc>&);  // the features in the masks alone
  void (*packed_update_nonzero)(const PackedUpdate<Acc>&);
};

// Kernels that read X (or the left matrix of a product) in the type it is stored in.
template <class In, class Acc>
struct StorageKernels {
  // Fills the masks of rows, of ceil(n_features / block_features / 64) words each.
  void (*find_nonzero)(const In* const* rows, std::ptrdiff_t n_rows, std::ptrdiff_t n_features,
                       std::uint64_t* const* masks);
  std::ptrdiff_t block_features;
  void (*logits)(const LogitsArgs<In, Acc>&);
  void (*panel_logits)(const PanelLogits<In, Acc>&);         // every feature; no masks
  void (*panel_logits_blocks)(const PanelLogits<In, Acc>&);  // the blocks that are not zero
  void (*panel_update)(const PanelUpdate<In, Acc>&);
  void (*panel_update_blocks)(const PanelUpdate<In, Acc>&);
  // out (n_rows, n_features), out_stride apart, = the rows; masks, if not null, as PackedRows has
  // them.
  void (*widen_rows)(const In* const* rows, std::ptrdiff_t n_rows, std::ptrdiff_t n_features,
                     std::ptrdiff_t out_stride, Acc* out, std::uint64_t* masks);
  // logits (n_outputs) = row . W, W (n_features, n_outputs).
  void (*sparse_logits)(const SparseRow<In>& row, const Acc* W, std::ptrdiff_t n_outputs,
                        Acc* logits);
  // gradient (n_features, n_outputs), rows stride apart, += row' dlogits. More than a few outputs
  // are read and written in whole vectors, whatever is in the last one.
  void (*add_sparse_row)(const SparseRow<In>& row, const double* dlogits, std::ptrdiff_t n_outputs,
                         std::ptrdiff_t stride, double* gradient);
  // A (m, k), any strides, into panels of gemm_rows rows, gemm_depth(k) x gemm_rows numbers each; B
  // (k, n) into panels of gemm_columns columns, gemm_depth(k) x gemm_columns. What they look like
  // only gemm knows.
  void (*gemm_pack_a)(const In* A, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                      std::ptrdiff_t m, std::ptrdiff_t k, Acc* packed);
  void (*gemm_pack_b)(const In* B, std::ptrdiff_t row_stride, std::ptrdiff_t col_stride,
                      std::ptrdiff_t k, std::ptrdiff_t n, Acc* packed);
  // W' (n_features, n_classes), any strides, into the panels of packed_update; the last one is
  // padded with zeros.
  void (*pack_weights)(const In* W, std::ptrdiff_t feature_stride, std::ptrdiff_t class_stride,
                       std::ptrdiff_t n_features, std::ptrdiff_t n_classes, Acc* packed);
};

// Null where there are no tiles.
struct ByteKernels {
  void (*split_weights)(const SplitWeights&);
  void (*logits)(const ByteLogits&);
  void (*update)(const ByteUpdate&);
};

// A table starts as a copy of a weaker one; each instruction set overrides what it has.
struct KernelTable {
  ArithmeticKernels<float> f32;
  ArithmeticKernels<double> f64;
  // One column per storage type and arithmetic type, named storage_arithmetic.
  StorageKernels<float, float> f32_f32;
  StorageKernels<std::uint8_t, float> u8_f32;
  StorageKernels<double, double> f64_f64;
  StorageKernels<float, double> f32_f64;
  StorageKernels<std::uint8_t, double> u8_f64;
  ByteKernels bytes;
};

// One per spine in isa/; each overrides the slots it has.
void fill_scalar(KernelTable& table);
void fill_avx2(KernelTable& table);
void fill_avx512(KernelTable& table);
void fill_avx512vl(KernelTable& table);
void fill_amx(KernelTable& table);
void fill_amx_reduced(KernelTable& table);
void fill_neon(KernelTable& table);

}  // namespace fastsoftmax
