package import KubeModel

/// What pods ask for and nodes have.
///
/// Sums wrap rather than trap, and what one pod asks for is cut to `amountMax`, so that absurd requests are merely never met.
package struct Amounts: Hashable, Sendable {
  package var milliCPU: Int64 = 0
  package var memoryBytes: Int64 = 0
  package var storageBytes: Int64 = 0
  package var pods: Int64 = 0
  /// Extended resources and huge pages, by name.
  package var others: [String: Int64] = [:]

  /// Of one resource of one pod: 32,768 such pods can be summed.
  static let amountMax: Int64 = 1 << 48

  package init() {}

  /// Of a node: what it can give to pods.
  package init(allocatable: [String: Quantity]) {
    for (name, quantity) in allocatable { add(name, Self.amount(name, quantity)) }
  }

  /// - Parameter named: in millicores for `cpu`, else in whole units.
  init(named: [String: Int64]) {
    for (name, amount) in named where amount != 0 { add(name, min(amount, Self.amountMax)) }
  }

  static func amount(_ name: String, _ quantity: Quantity) -> Int64 {
    name == "cpu" ? quantity.milliValue : quantity.value
  }

  private mutating func add(_ name: String, _ amount: Int64) {
    switch name {
    case "cpu": milliCPU &+= amount
    case "memory": memoryBytes &+= amount
    case "ephemeral-storage": storageBytes &+= amount
    case "pods": pods &+= amount
    default: others[name, default: 0] &+= amount
    }
  }

  static func += (left: inout Amounts, right: Amounts) { left.add(right, sign: 1) }
  static func -= (left: inout Amounts, right: Amounts) { left.add(right, sign: -1) }

  private mutating func add(_ other: Amounts, sign: Int64) {
    milliCPU &+= sign &* other.milliCPU
    memoryBytes &+= sign &* other.memoryBytes
    storageBytes &+= sign &* other.storageBytes
    pods &+= sign &* other.pods
    for (name, amount) in other.others { others[name, default: 0] &+= sign &* amount }
  }
}

extension PodSpec {
  /// What the pod takes from its node: the larger of what its containers need together and what its init containers need
  /// on the way there, or what the pod says as a whole, and its overhead.
  /// - SeeAlso: https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ (resource sharing)
  var amounts: Amounts {
    var running: [String: Int64] = [:]
    for container in containers { Self.add(container.resources.needed, to: &running) }
    var sidecars: [String: Int64] = [:]
    var peak: [String: Int64] = [:]
    for container in initContainers {
      let needed = container.resources.needed
      var now = sidecars
      Self.add(needed, to: &now)
      if container.restartPolicy == "Always" { sidecars = now }
      peak.merge(now, uniquingKeysWith: Swift.max)
    }
    Self.add(sidecars, to: &running)
    running.merge(peak, uniquingKeysWith: Swift.max)
    for (name, amount) in resources?.needed ?? [:] { running[name] = amount }
    Self.add(overhead.reduce(into: [:]) { $0[$1.key] = Amounts.amount($1.key, $1.value) }, to: &running)
    var amounts = Amounts(named: running)
    amounts.pods = 1
    return amounts
  }

  private static func add(_ amounts: [String: Int64], to sum: inout [String: Int64]) {
    for (name, amount) in amounts {
      sum[name] = Swift.min((sum[name] ?? 0) &+ Swift.min(amount, Amounts.amountMax), Amounts.amountMax)
    }
  }
}

extension ResourceRequirements {
  /// Requests; a resource that has a limit only is asked for up to its limit, as the API defaults it.
  fileprivate var needed: [String: Int64] {
    var needed: [String: Int64] = [:]
    for (name, quantity) in limits { needed[name] = max(0, Amounts.amount(name, quantity)) }
    for (name, quantity) in requests { needed[name] = max(0, Amounts.amount(name, quantity)) }
    return needed
  }
}
