internal import KubeModel
internal import PodTranslation

/// What a pod uses of what can run short.
package struct PodUsage: Hashable, Sendable {
  package struct Part: Hashable, Sendable {
    package var name: String
    package var bytes: Int64
    package var request: Int64

    package init(name: String, bytes: Int64, request: Int64) {
      (self.name, self.bytes, self.request) = (name, bytes, request)
    }
  }
  package var uid: String
  package var priority: Int32 = 0
  /// The node needs it, so that it stays: pods of files, and those of a system's priority.
  package var isCritical = false
  /// It was evicted and its processes are still about to end.
  package var isEnding = false
  /// By container: working sets against the requests.
  package var memory: [Part] = []
  /// By container: writable layers and logs against the requests.
  package var storage: [Part] = []
  /// emptyDirs on disk.
  package var volumeBytes: Int64 = 0
  package var inodes: Int64 = 0
  package var processes: Int64 = 0
  package var graceSeconds: Int64 = 30

  package init(uid: String) { self.uid = uid }

  /// From this priority on a pod belongs to the system.
  package static let systemPriority: Int32 = 2_000_000_000

  fileprivate func used(_ signal: PressureSignal) -> Int64 {
    switch signal.pressure {
    case .memory: memory.reduce(0) { $0 + $1.bytes }
    case .disk: signal.resource == "inodes" ? inodes : storage.reduce(volumeBytes) { $0 + $1.bytes }
    case .processes: processes
    }
  }

  fileprivate func parts(_ signal: PressureSignal) -> [Part] {
    switch signal {
    case .memory: memory
    case .nodeBytes, .imageBytes: storage
    case .nodeInodes, .imageInodes, .processes: []
    }
  }

  /// What it uses beyond what it asked for.
  fileprivate func excess(_ signal: PressureSignal) -> Int64 {
    used(signal) - parts(signal).reduce(0) { $0 + $1.request }
  }
}

/// What a node under pressure does next.
package enum EvictionAction: Hashable, Sendable {
  /// Frees what nobody uses: dead containers, then images. Answered by another step that says so.
  case collectGarbage(PressureSignal)
  case evict(uid: String, message: String, graceSeconds: Int64)
}

/// Pressure on a node as a value: readings in, conditions and actions out. It knows no clock and no file.
///
/// One pod at a time, and none while the last one still ends: what it held is not free before.
package struct EvictionPlan: Sendable {
  package let settings: EvictionSettings
  /// Since when each threshold has been met.
  private var metSince: [EvictionThreshold: Milliseconds] = [:]
  private var lastMet: [NodePressure: Milliseconds] = [:]
  package private(set) var pressures: Set<NodePressure> = []

  package init(_ settings: EvictionSettings) { self.settings = settings }

  /// - Parameters:
  ///   - readings: of this moment; what could not be read is left out and changes nothing.
  ///   - pods: that run.
  ///   - hasCollected: nothing more can be freed without ending pods.
  package mutating func step(
    _ readings: [PressureSignal: SignalReading], pods: [PodUsage], now: Milliseconds, hasCollected: Bool
  ) -> [EvictionAction] {
    for threshold in settings.thresholds {
      guard let reading = readings[threshold.signal] else { continue }
      let wasMet = metSince[threshold] != nil
      if threshold.isMet(by: reading, wasMet: wasMet) {
        if !wasMet { metSince[threshold] = now }
        lastMet[threshold.signal.pressure] = now
      } else {
        metSince[threshold] = nil
      }
    }
    pressures = Set(NodePressure.allCases.filter { isUnder($0, now) })
    // Memory first: a node without it answers nobody.
    let due = PressureSignal.allCases.compactMap { signal in
      settings.thresholds.filter { $0.signal == signal && isDue($0, now) && readings[signal] != nil }
        .min { ($0.grace ?? -1) < ($1.grace ?? -1) }
    }
    guard let first = due.first, let reading = readings[first.signal], !pods.contains(where: \.isEnding) else {
      return []
    }
    if first.signal.pressure == .disk, !hasCollected { return [.collectGarbage(first.signal)] }
    guard let victim = Self.ranked(pods, by: first.signal).first else { return [] }
    let grace =
      first.grace == nil ? EvictionSettings.hardGraceSeconds : min(settings.graceSecondsMax, victim.graceSeconds)
    return [.evict(uid: victim.uid, message: Self.message(victim, first, reading), graceSeconds: grace)]
  }

  private func isUnder(_ pressure: NodePressure, _ now: Milliseconds) -> Bool {
    if metSince.keys.contains(where: { $0.signal.pressure == pressure }) { return true }
    return lastMet[pressure].map { now - $0 < settings.transition } ?? false
  }

  private func isDue(_ threshold: EvictionThreshold, _ now: Milliseconds) -> Bool {
    metSince[threshold].map { now - $0 >= threshold.grace ?? 0 } ?? false
  }

  /// Those that may be evicted, the first to go first: who uses more than it asked for, then who matters less, then who
  /// uses most beyond its request.
  package static func ranked(_ pods: [PodUsage], by signal: PressureSignal) -> [PodUsage] {
    pods.filter { !$0.isCritical && !$0.isEnding }.sorted { one, other in
      let (exceeds, otherExceeds) = (one.excess(signal) > 0, other.excess(signal) > 0)
      if signal.pressure != .processes, exceeds != otherExceeds { return exceeds }
      if one.priority != other.priority { return one.priority < other.priority }
      let (most, otherMost) = (one.excess(signal), other.excess(signal))
      return most != otherMost ? most > otherMost : one.uid < other.uid
    }
  }

  /// In the words of a kubelet.
  static func message(_ pod: PodUsage, _ threshold: EvictionThreshold, _ reading: SignalReading) -> String {
    let signal = threshold.signal
    let least: String
    switch threshold.amount {
    case .quantity(let quantity): least = quantity.text
    case .share: least = signal.text(threshold.amount.value(of: reading.capacity))
    }
    var message = "The node was low on resource: \(signal.resource). "
    message += "Threshold quantity: \(least), available: \(signal.text(reading.available)). "
    for part in pod.parts(signal) where part.bytes > part.request {
      message += "Container \(part.name) was using \(signal.text(part.bytes)), "
      message += "request is \(part.request == 0 ? "0" : signal.text(part.request)), "
      message += "has larger consumption of \(signal.resource). "
    }
    return message
  }
}
