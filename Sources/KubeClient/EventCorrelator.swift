package import JSON
package import KubeModel

/// Decides which events are sent, and which are counted up instead. A pure value.
///
/// As Kubernetes' clients do: an object has a burst of 25 events from a source and one more every 5 minutes; an event that
/// says the same as an earlier one counts that one up; after ten that differ in their words only, the rest of ten
/// minutes is told as one.
package struct EventCorrelator: Sendable {
  package static let burst = 25.0
  package static let refillPerSecond = 1.0 / 300
  package static let similarMax = 10
  package static let similarWindow: Duration = .seconds(600)
  /// Entries of each of the three memories; the one used longest ago goes.
  package static let memoryMax = 4096

  package struct Action: Sendable {
    package enum Step: Hashable, Sendable {
      case create
      case patch(name: String, JSONValue)
    }
    package var event: Event
    package var step: Step
    fileprivate var key: SameKey
  }

  private struct ObjectBucket {
    var tokens: Double
    var at: Duration
  }
  fileprivate struct SourceKey: Hashable, Sendable {
    var object: ObjectReference
    var source: EventSource
  }
  fileprivate struct SimilarKey: Hashable, Sendable {
    var from: SourceKey
    var type: String?
    var reason: String?
  }
  fileprivate struct SameKey: Hashable, Sendable {
    var similar: SimilarKey
    var message: String?
  }
  private struct Similar {
    var messages: Set<String>
    var at: Duration
  }
  private struct Same {
    var name: String
    var count: Int32
    var first: Time?
  }
  private var buckets = RecentMemory<SourceKey, ObjectBucket>(max: memoryMax)
  private var similar = RecentMemory<SimilarKey, Similar>(max: memoryMax)
  private var same = RecentMemory<SameKey, Same>(max: memoryMax)

  package init() {}

  /// - Returns: nil where the object has had too many events.
  package mutating func correlate(_ event: Event, at now: Duration) -> Action? {
    var event = event
    var object = event.involvedObject
    object.resourceVersion = nil
    let from = SourceKey(object: object, source: event.source)
    let similarKey = SimilarKey(from: from, type: event.type, reason: event.reason)
    var sameKey = SameKey(similar: similarKey, message: event.message)
    if isOneOfMany(similarKey, event.message ?? "", now) {
      sameKey.message = nil
      event.message = "(combined from similar events): \(event.message ?? "")"
    }
    let known = same[sameKey]
    if let known {
      event.metadata.name = known.name
      event.count = known.count + 1
      event.firstTimestamp = known.first
    }
    same[sameKey] = Same(name: event.metadata.name ?? "", count: event.count ?? 1, first: event.firstTimestamp)
    guard take(from, now) else { return nil }
    guard known != nil else { return Action(event: event, step: .create, key: sameKey) }
    var change = JSONObject()
    change["count"] = .integer(Int64(event.count ?? 1))
    change["lastTimestamp"] = event.lastTimestamp?.json ?? .null
    change["message"] = .string(event.message ?? "")
    return Action(
      event: event, step: .patch(name: event.metadata.name ?? "", .object(change)), key: sameKey)
  }

  /// The event that an action was to count up is gone.
  package mutating func forget(_ action: Action) {
    same[action.key] = Same(name: action.event.metadata.name ?? "", count: 1, first: action.event.lastTimestamp)
  }

  private mutating func isOneOfMany(_ key: SimilarKey, _ message: String, _ now: Duration) -> Bool {
    var known = similar[key] ?? Similar(messages: [], at: now)
    if now - known.at > Self.similarWindow { known = Similar(messages: [], at: now) }
    known.at = now
    let isOne = !known.messages.contains(message) && known.messages.count >= Self.similarMax
    if !isOne { known.messages.insert(message) }
    similar[key] = known
    return isOne
  }

  private mutating func take(_ key: SourceKey, _ now: Duration) -> Bool {
    var bucket = buckets[key] ?? ObjectBucket(tokens: Self.burst, at: now)
    bucket.tokens = min(Self.burst, bucket.tokens + (now - bucket.at) / .seconds(1) * Self.refillPerSecond)
    bucket.at = now
    let has = bucket.tokens >= 1
    if has { bucket.tokens -= 1 }
    buckets[key] = bucket
    return has
  }
}

/// Values by key, up to a number: beyond it the half that was used longest ago goes.
struct RecentMemory<Key: Hashable & Sendable, Value> {
  private var values: [Key: (value: Value, use: Int)] = [:]
  private var uses = 0
  private let max: Int

  init(max: Int) { self.max = max }

  var count: Int { values.count }

  subscript(key: Key) -> Value? {
    mutating get {
      guard let found = values[key] else { return nil }
      uses += 1
      values[key]?.use = uses
      return found.value
    }
    set {
      guard let newValue else {
        values[key] = nil
        return
      }
      uses += 1
      values[key] = (newValue, uses)
      guard values.count > max else { return }
      let middle = values.values.map(\.use).sorted()[values.count / 2]
      values = values.filter { $0.value.use >= middle }
    }
  }
}

extension RecentMemory: Sendable where Value: Sendable {}
