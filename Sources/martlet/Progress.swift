import CRIModel
import Kernel
import Synchronization

/// What a long image operation has come to: a line for each layer.
struct ProgressBoard: Equatable, Sendable {
  struct Layer: Equatable, Sendable {
    var stage: MartletImageProgress.Stage
    var doneBytes: UInt64 = 0
    var totalBytes: UInt64 = 0
  }

  /// In the order in which they were heard of.
  private(set) var digests: [String] = []
  private(set) var layers: [String: Layer] = [:]

  /// Takes one step.
  /// - Returns: a line about it for those who see no bars, where the step begins or ends something.
  mutating func update(_ step: MartletImageProgress) -> String? {
    let before = layers[step.digest]
    guard step.stage != .done else { return nil }
    if before == nil { digests.append(step.digest) }
    var layer = before ?? Layer(stage: step.stage)
    layer.stage = step.stage
    layer.doneBytes = step.doneBytes
    if step.totalBytes > 0 { layer.totalBytes = step.totalBytes }
    layers[step.digest] = layer
    guard before?.stage != step.stage else { return nil }
    let size = layer.totalBytes > 0 ? " \(Units.bytes(layer.totalBytes))" : ""
    let name = step.digest.isEmpty ? "" : "\(Units.shortID(step.digest)): "
    return "\(name)\(Self.word(step.stage))\(size)"
  }

  /// The bars, each at most `width` columns.
  func lines(width: Int) -> [String] {
    digests.compactMap { digest in
      guard let layer = layers[digest] else { return nil }
      // What was looked for is found once its layers are known.
      if layer.stage == .resolving, digests.count > 1 { return nil }
      let name = digest.isEmpty ? "image" : Units.shortID(digest)
      let label = name + String(repeating: " ", count: max(0, 12 - name.count))
      let room = min(Self.barColumnsMax, width - label.count - 32)
      let moves = [.downloading, .unpacking, .exporting].contains(layer.stage)
      let bar = moves && layer.totalBytes > 0 && room >= 8 ? Self.bar(layer, room) : nil
      let figures = moves ? Self.figures(layer) : layer.totalBytes > 0 ? Units.bytes(layer.totalBytes) : nil
      let words = [label, bar, Self.word(layer.stage), figures].compactMap { $0 }
      return words.joined(separator: " ").clipped(to: width)
    }
  }

  private static let barColumnsMax = 40

  private static func figures(_ layer: Layer) -> String? {
    if layer.totalBytes == 0 { return layer.doneBytes > 0 ? Units.bytes(layer.doneBytes) : nil }
    return "\(Units.bytes(min(layer.doneBytes, layer.totalBytes)))/\(Units.bytes(layer.totalBytes))"
  }

  private static func bar(_ layer: Layer, _ columns: Int) -> String {
    let share = min(1, Double(layer.doneBytes) / Double(layer.totalBytes))
    let full = Int(share * Double(columns))
    return "[" + String(repeating: "=", count: full) + String(repeating: " ", count: columns - full) + "]"
  }

  private static func word(_ stage: MartletImageProgress.Stage) -> String {
    switch stage {
    case .resolving: "resolving"
    case .downloading: "downloading"
    case .unpacking: "unpacking"
    case .exporting: "exporting"
    case .layerDone: "done"
    case .done: "complete"
    default: "working"
    }
  }
}

/// Shows progress on standard error: bars on a terminal, else a line for each beginning and end.
final class ProgressDisplay: Sendable {
  private struct State {
    var board = ProgressBoard()
    var drawn = 0
    var last: ContinuousClock.Instant?
  }

  private let state = Mutex(State())
  private let bars: Bool
  private static let redrawInterval: Duration = .milliseconds(80)

  private init(bars: Bool) { self.bars = bars }

  /// Runs `work` and shows the steps that it reports.
  static func show(
    _ options: OutputOptions,
    _ work: (@Sendable @escaping (MartletImageProgress) -> Void) async throws -> MartletImageProgress
  ) async throws -> MartletImageProgress {
    let display = ProgressDisplay(bars: options.styled(.errors))
    do {
      let last = try await work { display.update($0) }
      display.finish()
      return last
    } catch {
      display.finish()
      throw error
    }
  }

  private func update(_ step: MartletImageProgress) {
    let text: String? = state.withLock { state in
      let line = state.board.update(step)
      guard bars else { return line.map { $0 + "\n" } }
      let now = ContinuousClock.now
      if line == nil, let last = state.last, now - last < Self.redrawInterval { return nil }
      state.last = now
      return Self.drawing(&state)
    }
    if let text { write(text) }
  }

  private func finish() {
    guard bars else { return }
    write(state.withLock { Self.drawing(&$0) })
  }

  /// Over the lines of the last drawing. Layers that do not fit the screen are left out: what scrolled away could not
  /// be drawn over.
  private static func drawing(_ state: inout State) -> String {
    let size = Terminal.size(of: .errors) ?? (columns: 80, rows: 24)
    let lines = state.board.lines(width: max(20, Int(size.columns) - 1)).suffix(max(1, Int(size.rows) - 1))
    let up = state.drawn > 0 ? "\u{1b}[\(state.drawn)A" : ""
    state.drawn = lines.count
    return up + "\r\u{1b}[J" + lines.map { $0 + "\n" }.joined()
  }

  private func write(_ text: String) {
    // Progress that cannot be shown is no reason to stop the work.
    try? StandardStream.write(Array(text.utf8), to: .errors)
  }
}
