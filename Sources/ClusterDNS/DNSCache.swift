internal import DNSMessage

/// Answers of others, for as long as they may be remembered. A value; forgets the older half when it is full.
struct DNSCache: Sendable {
  struct Key: Hashable, Sendable {
    var question: DNSQuestion
    var wantsSignatures: Bool
    var checksDisabled: Bool
  }
  private struct Entry {
    var message: DNSMessage
    /// Milliseconds of the caller's clock.
    var storedAt: Int64
    var expiresAt: Int64
  }
  /// Seconds that an answer, and that there is nothing, are kept at most.
  static let secondsMax: UInt32 = 300
  static let negativeSecondsMax: UInt32 = 30
  /// Answers that are kept, and the bytes of one.
  private let entriesMax: Int
  static let recordsMax = 64

  private var young: [Key: Entry] = [:]
  private var old: [Key: Entry] = [:]

  init(entriesMax: Int = 8192) { self.entriesMax = max(2, entriesMax) }

  var count: Int { young.count + old.count }

  /// The answer with what is left of its times.
  func find(_ key: Key, now: Int64) -> DNSMessage? {
    guard let entry = young[key] ?? old[key], now < entry.expiresAt else { return nil }
    var message = entry.message
    let passed = UInt32(clamping: (now - entry.storedAt) / 1000)
    func age(_ records: inout [DNSRecord]) {
      for index in records.indices { records[index].ttl -= min(passed, records[index].ttl) }
    }
    age(&message.answers)
    age(&message.authority)
    age(&message.additional)
    return message
  }

  mutating func store(_ key: Key, _ message: DNSMessage, now: Int64) {
    guard let seconds = Self.seconds(message), seconds > 0 else { return }
    if young.count >= entriesMax / 2 { (old, young) = (young, [:]) }
    old[key] = nil
    young[key] = Entry(message: message, storedAt: now, expiresAt: now + Int64(seconds) * 1000)
  }

  /// Nil: it is not to be kept.
  private static func seconds(_ message: DNSMessage) -> UInt32? {
    guard !message.isTruncated, message.code == .noError || message.code == .nameError else { return nil }
    guard message.answers.count + message.authority.count + message.additional.count <= recordsMax else { return nil }
    if message.code == .noError, let least = message.answers.map(\.ttl).min() { return min(least, secondsMax) }
    for record in message.authority {
      // RFC 2308 §5.
      if case .authority(_, _, _, let times) = record.data, let minimum = times.last {
        return min(record.ttl, minimum, negativeSecondsMax)
      }
    }
    return nil
  }
}
