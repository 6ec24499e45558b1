package import KubeModel

/// What of a node runs short, in a kubelet's names.
/// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/
package enum PressureSignal: String, Hashable, Sendable, CaseIterable {
  case memory = "memory.available"
  case nodeBytes = "nodefs.available"
  case nodeInodes = "nodefs.inodesFree"
  case imageBytes = "imagefs.available"
  case imageInodes = "imagefs.inodesFree"
  case processes = "pid.available"

  package var pressure: NodePressure {
    switch self {
    case .memory: .memory
    case .processes: .processes
    case .nodeBytes, .nodeInodes, .imageBytes, .imageInodes: .disk
    }
  }

  /// As messages call what is short.
  var resource: String {
    switch self {
    case .memory: "memory"
    case .nodeBytes, .imageBytes: "ephemeral-storage"
    case .nodeInodes, .imageInodes: "inodes"
    case .processes: "pids"
    }
  }

  /// Amounts as people read them: bytes in Ki, the rest as they are.
  func text(_ amount: Int64) -> String {
    switch self {
    case .memory, .nodeBytes, .imageBytes: "\(amount / 1024)Ki"
    case .nodeInodes, .imageInodes, .processes: "\(amount)"
    }
  }
}

/// A condition of a node that keeps new pods away.
package enum NodePressure: String, Hashable, Sendable, CaseIterable {
  case memory = "MemoryPressure"
  case disk = "DiskPressure"
  case processes = "PIDPressure"
}

/// How much there is of something: bytes, inodes, processes.
package struct SignalReading: Hashable, Sendable {
  package var available: Int64
  package var capacity: Int64

  package init(available: Int64, capacity: Int64) { (self.available, self.capacity) = (available, capacity) }
}

/// Below how much a node acts.
package struct EvictionThreshold: Hashable, Sendable {
  package enum Amount: Hashable, Sendable {
    case quantity(Quantity)
    /// Of the capacity, in thousandths of a percent.
    case share(Int64)

    func value(of capacity: Int64) -> Int64 {
      switch self {
      case .quantity(let quantity): quantity.value
      // In this order no disk is too large to be counted.
      case .share(let thousandths): capacity / 100_000 * thousandths + capacity % 100_000 * thousandths / 100_000
      }
    }
  }
  package var signal: PressureSignal
  package var amount: Amount
  /// Milliseconds below the threshold before a pod is evicted; nil: at once, and the pod has no time to end well.
  package var grace: Milliseconds?
  /// So much more than the threshold must be there again before the need counts as over.
  package var reclaim: Amount = .quantity(Quantity())

  package init(_ signal: PressureSignal, _ amount: Amount, grace: Milliseconds? = nil) {
    (self.signal, self.amount, self.grace) = (signal, amount, grace)
  }

  /// - Parameter wasMet: it was met before, so that it is over only when enough is there again.
  func isMet(by reading: SignalReading, wasMet: Bool) -> Bool {
    let least = amount.value(of: reading.capacity)
    return reading.available < (wasMet ? least + reclaim.value(of: reading.capacity) : least)
  }
}

/// Why a setting of thresholds cannot be used.
package struct ThresholdError: Error, Hashable, CustomStringConvertible {
  package var description: String

  package init(description: String) { self.description = description }
}

/// All thresholds of a node, as a kubelet's flags say them.
package struct EvictionSettings: Hashable, Sendable {
  package var thresholds: [EvictionThreshold]
  /// Milliseconds for which a pressure stands at least.
  package var transition: Milliseconds = 300_000
  /// Seconds that a pod evicted by a soft threshold has at the most.
  package var graceSecondsMax: Int64 = 0
  /// For what ends at once.
  static let hardGraceSeconds: Int64 = 1

  package static let usualHard =
    "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,imagefs.available<5%,imagefs.inodesFree<5%,"
    + "pid.available<512"

  /// What a node has that was told nothing.
  package static let usual = (try? EvictionSettings()) ?? EvictionSettings(thresholds: [])

  package init(thresholds: [EvictionThreshold]) { self.thresholds = thresholds }

  /// - Parameters:
  ///   - hard, soft: as `memory.available<100Mi,nodefs.available<10%`.
  ///   - softGrace: as `memory.available=1m30s`; one for each soft threshold.
  ///   - reclaim: as `nodefs.available=500Mi`.
  /// - Throws: `ThresholdError`, naming the word that is wrong.
  package init(
    hard: String = usualHard, soft: String = "", softGrace: String = "", reclaim: String = ""
  ) throws(ThresholdError) {
    thresholds = try Self.pairs(hard, "<").map { signal, text throws(ThresholdError) in
      EvictionThreshold(signal, try Self.amount(text))
    }
    let graces = try Self.pairs(softGrace, "=")
    for (signal, text) in try Self.pairs(soft, "<") {
      guard let grace = graces.first(where: { $0.0 == signal })?.1 else {
        throw ThresholdError(description: "the soft threshold of \(signal.rawValue) has no grace period")
      }
      guard let span = Self.milliseconds(grace), span >= 0 else {
        throw ThresholdError(description: "\"\(grace)\" is no time such as 1m30s")
      }
      thresholds.append(EvictionThreshold(signal, try Self.amount(text), grace: span))
    }
    for (signal, text) in try Self.pairs(reclaim, "=") {
      let amount = try Self.amount(text)
      for index in thresholds.indices where thresholds[index].signal == signal { thresholds[index].reclaim = amount }
    }
  }

  private static func pairs(_ text: String, _ mark: Character) throws(ThresholdError) -> [(PressureSignal, String)] {
    var found: [(PressureSignal, String)] = []
    for item in text.split(separator: ",") {
      let parts = item.split(separator: mark, maxSplits: 1).map { String($0.filter { $0 != " " }) }
      guard parts.count == 2 else {
        throw ThresholdError(description: "\"\(item)\" is not of the form SIGNAL\(mark)AMOUNT")
      }
      guard let signal = PressureSignal(rawValue: parts[0]) else {
        let known = PressureSignal.allCases.map(\.rawValue).joined(separator: ", ")
        throw ThresholdError(description: "\"\(parts[0])\" is no signal; there are \(known)")
      }
      guard !found.contains(where: { $0.0 == signal }) else {
        throw ThresholdError(description: "\(signal.rawValue) stands twice")
      }
      found.append((signal, parts[1]))
    }
    return found
  }

  private static func amount(_ text: String) throws(ThresholdError) -> EvictionThreshold.Amount {
    if text.hasSuffix("%") {
      guard let share = Double(text.dropLast()), (0...100).contains(share) else {
        throw ThresholdError(description: "\"\(text)\" is no share from 0% to 100%")
      }
      return .share(Int64(share * 1000))
    }
    guard let quantity = Quantity(text), quantity.value >= 0 else {
      throw ThresholdError(description: "\"\(text)\" is no amount such as 100Mi or 10%")
    }
    return .quantity(quantity)
  }

  /// A Go duration such as `1m30s`.
  package static func milliseconds(_ text: String) -> Milliseconds? {
    let units: [String: Milliseconds] = ["h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1]
    if text == "0" { return 0 }
    var (total, digits, unit): (Milliseconds, String, String) = (0, "", "")
    func add() -> Bool {
      guard let number = Milliseconds(digits), let size = units[unit], number < 1 << 31 else { return false }
      total += number * size
      (digits, unit) = ("", "")
      return true
    }
    for character in text {
      if character.isNumber {
        if !unit.isEmpty, !add() { return nil }
        digits.append(character)
      } else {
        unit.append(character)
      }
    }
    return add() ? total : nil
  }
}
