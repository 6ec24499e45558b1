package import KubeModel

/// The size that a HorizontalPodAutoscaler gives its target, in view of what it advised and did before.
package struct AutoscalerPlan: Sendable {
  /// What one autoscaler remembers, by time in seconds.
  package struct Memory: Sendable {
    package var advice: [(at: Int64, replicas: Int)] = []
    package var changes: [(at: Int64, by: Int)] = []
    /// Entries of each kind that are kept.
    package static let entriesMax = 512

    package init() {}

    mutating func trim(now: Int64, seconds: Int64) {
      advice.removeAll { now - $0.at > seconds }
      changes.removeAll { now - $0.at > seconds }
      advice = advice.suffix(Self.entriesMax)
      changes = changes.suffix(Self.entriesMax)
    }
  }

  package let replicas: Int
  package let limited: (status: String, reason: String, message: String)
  package let able: (reason: String, message: String)

  /// - Parameter advised: what the metrics ask for.
  package init(
    for autoscaler: HorizontalPodAutoscaler, current: Int, advised: Int, memory: inout Memory, now: Time
  ) {
    let second = now.secondsSinceEpoch
    let (up, down) = (autoscaler.rules(isUp: true), autoscaler.rules(isUp: false))
    let periods = (up.policies + down.policies).map { Int64($0.periodSeconds) }
    memory.trim(now: second, seconds: max(Int64(up.window), Int64(down.window), periods.max() ?? 0) + 1)
    memory.advice.append((second, advised))
    // The least of what was advised lately bounds the way up, the most of it the way down.
    let least = memory.advice.filter { second - $0.at <= Int64(up.window) }.map(\.replicas).min() ?? advised
    let most = memory.advice.filter { second - $0.at <= Int64(down.window) }.map(\.replicas).max() ?? advised
    let steady = current < least ? least : (current > most ? most : current)
    let stable = advised > current ? min(max(steady, current), advised) : max(min(steady, current), advised)
    able =
      stable != advised
      ? (
        stable < advised ? "ScaleUpStabilized" : "ScaleDownStabilized",
        stable < advised
          ? "recent recommendations were lower than current one, applying the lowest recent recommendation"
          : "recent recommendations were higher than current one, applying the highest recent recommendation"
      ) : ("ReadyForNewScale", "recommended size matches current size")
    let bounds = (Int(autoscaler.spec.minReplicas ?? 1), Int(autoscaler.spec.maxReplicas))
    var wanted = stable
    var limited = ("False", "DesiredWithinRange", "the desired count is within the acceptable range")
    if wanted > current {
      let most = Self.limit(up, current, memory, second, isUp: true)
      if wanted > most {
        (wanted, limited) = (
          most, ("True", "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
        )
      }
    } else if wanted < current {
      let least = Self.limit(down, current, memory, second, isUp: false)
      if wanted < least {
        (wanted, limited) = (
          least,
          ("True", "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
        )
      }
    }
    if wanted > bounds.1 {
      (wanted, limited) = (
        bounds.1, ("True", "TooManyReplicas", "the desired replica count is more than the maximum replica count")
      )
    } else if wanted < bounds.0 {
      (wanted, limited) = (
        bounds.0, ("True", "TooFewReplicas", "the desired replica count is less than the minimum replica count")
      )
    }
    replicas = wanted
    self.limited = limited
    if wanted != current { memory.changes.append((second, wanted - current)) }
  }

  /// How far the size may go in one direction now.
  private static func limit(
    _ rules: HorizontalPodAutoscaler.Rules, _ current: Int, _ memory: Memory, _ now: Int64, isUp: Bool
  ) -> Int {
    if rules.select == "Disabled" { return current }
    let limits = rules.policies.map { policy -> Int in
      let recent = memory.changes.filter { now - $0.at <= Int64(policy.periodSeconds) && ($0.by > 0) == isUp }
      let start = current - recent.reduce(0) { $0 + $1.by }
      let value = Int(policy.value)
      if policy.type == "Percent" {
        return isUp ? (start * (100 + value) + 99) / 100 : start * (100 - min(value, 100)) / 100
      }
      return isUp ? start + value : start - value
    }
    // The policy that changes most wins, unless the least is asked for.
    let wantsMost = (rules.select != "Min") == isUp
    let limit = (wantsMost ? limits.max() : limits.min()) ?? current
    return isUp ? max(limit, current) : min(max(0, limit), current)
  }
}

extension HorizontalPodAutoscaler {
  struct Rules: Sendable {
    var window: Int32
    var select: String
    var policies: [HPAScalingPolicy]
  }

  private static func policy(_ type: String, _ value: Int32, _ seconds: Int32) -> HPAScalingPolicy {
    var policy = HPAScalingPolicy()
    (policy.type, policy.value, policy.periodSeconds) = (type, value, seconds)
    return policy
  }

  /// As they are given, or as Kubernetes has them by default.
  func rules(isUp: Bool) -> Rules {
    let given = isUp ? spec.behavior?.scaleUp : spec.behavior?.scaleDown
    let standard =
      isUp ? [Self.policy("Pods", 4, 15), Self.policy("Percent", 100, 15)] : [Self.policy("Percent", 100, 15)]
    let policies = given?.policies ?? []
    return Rules(
      window: given?.stabilizationWindowSeconds ?? (isUp ? 0 : 300), select: given?.selectPolicy ?? "Max",
      policies: policies.isEmpty ? standard : policies)
  }

  func tolerance(isUp: Bool) -> Double {
    let given = isUp ? spec.behavior?.scaleUp?.tolerance : spec.behavior?.scaleDown?.tolerance
    return given.map { Double($0.milliValue) / 1000 } ?? 0.1
  }
}
