import JSON
package import Kernel
import Synchronization

/// A range of IPv4 addresses: `10.96.0.0/16`.
package struct IPv4Network: Hashable, Sendable, CustomStringConvertible {
  package let base: UInt32
  package let prefixLength: Int

  /// - Returns: nil where the text is no network, or too small or too large to give addresses from (/8 to /30).
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let address = Self.number(String(parts[0])), let length = Int(parts[1]),
      (8...30).contains(length)
    else { return nil }
    prefixLength = length
    base = address & ~UInt32(0) << UInt32(32 - length)
  }

  /// Addresses in the network, with its first and last.
  package var count: UInt32 { 1 << UInt32(32 - prefixLength) }
  /// The address of the Service `kubernetes`.
  package var first: String { Self.text(base + 1) }
  package var description: String { "\(Self.text(base))/\(prefixLength)" }

  /// The place of an address that a Service may have; nil for others.
  func offset(_ address: String) -> UInt32? {
    guard let number = Self.number(address), number > base, number - base < count - 1 else { return nil }
    return number - base
  }

  func address(_ offset: UInt32) -> String { Self.text(base + offset) }

  static func number(_ text: String) -> UInt32? {
    guard let address = IPAddress(text), address.family == .ipv4 else { return nil }
    return address.bytes.reduce(0) { $0 << 8 | UInt32($1) }
  }

  static func text(_ number: UInt32) -> String {
    [24, 16, 8, 0].map { String(number >> UInt32($0) & 255) }.joined(separator: ".")
  }
}

/// A range of addresses of either family from which Services get theirs.
package struct ServiceNetwork: Hashable, Sendable, CustomStringConvertible {
  package let prefix: IPPrefix
  /// Addresses of a large range that are given out: those that come first.
  static let offsetsMax: UInt64 = 1 << 20

  /// - Returns: nil where the range is too small or too large to give addresses from: /8 to /30, and /64 to /124.
  package init?(_ prefix: IPPrefix) {
    let lengths = prefix.address.family == .ipv4 ? 8...30 : 64...124
    guard lengths.contains(prefix.length) else { return nil }
    self.prefix = prefix
  }

  init(_ network: IPv4Network) {
    // The text of a network is always a range.
    prefix =
      IPPrefix("\(network)") ?? IPPrefix(address: .ipv4(10, 96, 0, 0), length: 16) ?? ServiceNetwork.none
  }

  private static var none: IPPrefix {
    guard let prefix = IPPrefix(address: .ipv4(0, 0, 0, 0), length: 0) else { preconditionFailure("0.0.0.0/0") }
    return prefix
  }

  package var family: IPAddress.Family { prefix.address.family }
  package var description: String { prefix.description }

  /// Places from the first address, which names the range, to the last, which IPv4 keeps for broadcast.
  var count: UInt64 {
    let hostBits = prefix.address.bytes.count * 8 - prefix.length
    return min(hostBits >= 20 ? Self.offsetsMax : 1 << UInt64(hostBits), Self.offsetsMax)
  }

  /// Whether a Service may have this address; also one beyond those that are given out.
  func allows(_ address: IPAddress) -> Bool {
    prefix.contains(address) && address != prefix.address && (family == .ipv6 || !isLast(address))
  }

  private func isLast(_ address: IPAddress) -> Bool {
    zip(address.bytes, prefix.mask).allSatisfy { $0 | $1 == 0xff }
  }

  func address(_ offset: UInt64) -> IPAddress? { prefix.address.advanced(by: offset) }
}

/// Why an address or a port was not given, in the words of a field error.
struct AllocationError: Error {
  let why: String
}

/// Which addresses and node ports the Services have. Rebuilt from the store at start.
package final class ServiceAllocations: Sendable {
  private struct State {
    var addresses: Set<IPAddress> = []
    var ports: Set<UInt16> = []
  }

  /// One a family at most; the first is that of Services which name no family.
  let networks: [ServiceNetwork]
  let ports: ClosedRange<UInt16>
  private let state = Mutex(State())

  /// The lower part of a range is for those who ask for an address, as Kubernetes divides it: what is given without
  /// being asked for comes from above it while there is room.
  private static let reservedMax: UInt64 = 256
  private static let reservedMin: UInt64 = 16
  /// Random places that are tried before every place is.
  private static let randomTries = 32

  convenience init(addresses: IPv4Network, ports: ClosedRange<UInt16>) {
    self.init(networks: [ServiceNetwork(addresses)], ports: ports)
  }

  init(networks: [ServiceNetwork], ports: ClosedRange<UInt16>) {
    self.networks = networks
    self.ports = ports
  }

  func network(_ family: IPAddress.Family) -> ServiceNetwork? { networks.first { $0.family == family } }

  func take(address text: String) throws(AllocationError) {
    guard let address = IPAddress(text) else {
      throw AllocationError(why: "failed to allocate IP \(text): it is no address")
    }
    guard let network = network(address.family) else {
      throw AllocationError(
        why: "failed to allocate IP \(text): there are no addresses of \(address.family.kubernetes) in this cluster")
    }
    guard network.allows(address) else {
      throw AllocationError(
        why: "failed to allocate IP \(text): the provided IP (\(text)) is not in the valid range. The range of "
          + "valid IPs is \(network)")
    }
    guard state.withLock({ $0.addresses.insert(address).inserted }) else {
      throw AllocationError(why: "failed to allocate IP \(text): provided IP is already allocated")
    }
  }

  func takeAddress(_ family: IPAddress.Family) throws(AllocationError) -> String {
    guard let network = network(family) else {
      throw AllocationError(why: "failed to allocate a serviceIP: no range of \(family.kubernetes) is configured")
    }
    let reserved = min(max(Self.reservedMin, network.count / 16), Self.reservedMax)
    let upper = min(reserved, network.count / 2)..<(network.count - 1)
    let found = state.withLock { state -> IPAddress? in
      func taken(_ offset: UInt64) -> IPAddress? {
        guard let address = network.address(offset), state.addresses.insert(address).inserted else { return nil }
        return address
      }
      for _ in 0..<Self.randomTries {
        if let address = taken(UInt64.random(in: upper)) { return address }
      }
      for offset in upper { if let address = taken(offset) { return address } }
      for offset in 1..<upper.lowerBound { if let address = taken(offset) { return address } }
      return nil
    }
    guard let found else { throw AllocationError(why: "failed to allocate a serviceIP: range is full") }
    return found.description
  }

  func take(port: UInt16) throws(AllocationError) {
    guard ports.contains(port) else {
      throw AllocationError(
        why: "provided port is not in the valid range. The range of valid ports is "
          + "\(ports.lowerBound)-\(ports.upperBound)")
    }
    guard state.withLock({ $0.ports.insert(port).inserted }) else {
      throw AllocationError(why: "provided port is already allocated")
    }
  }

  func takePort() throws(AllocationError) -> UInt16 {
    let found = state.withLock { state -> UInt16? in
      for _ in 0..<Self.randomTries {
        let port = UInt16.random(in: ports)
        if state.ports.insert(port).inserted { return port }
      }
      guard let free = ports.first(where: { !state.ports.contains($0) }) else { return nil }
      state.ports.insert(free)
      return free
    }
    guard let found else { throw AllocationError(why: "failed to allocate a nodePort: range is full") }
    return found
  }

  func release(addresses: [String], ports: [UInt16]) {
    state.withLock { state in
      for address in addresses.compactMap({ IPAddress($0) }) { state.addresses.remove(address) }
      for port in ports { state.ports.remove(port) }
    }
  }

  /// What a stored Service holds is taken, whoever else has it.
  func adopt(_ service: JSONObject) {
    let held = ServiceHoldings(service)
    state.withLock { state in
      state.addresses.formUnion(held.addresses.compactMap { IPAddress($0) })
      state.ports.formUnion(held.ports)
    }
  }

  func release(_ service: JSONObject) {
    let held = ServiceHoldings(service)
    release(addresses: held.addresses, ports: held.ports)
  }
}

extension IPAddress.Family {
  /// As `spec.ipFamilies` writes it.
  var kubernetes: String { self == .ipv4 ? "IPv4" : "IPv6" }

  init?(kubernetes name: String) {
    switch name {
    case "IPv4": self = .ipv4
    case "IPv6": self = .ipv6
    default: return nil
    }
  }
}

/// The addresses and node ports that a Service names.
struct ServiceHoldings: Hashable {
  var addresses: [String]
  var ports: [UInt16]

  init(_ service: JSONObject) {
    let spec = service[object: "spec"]
    var addresses = (spec["clusterIPs"]?.array ?? []).compactMap(\.string)
    if addresses.isEmpty { addresses = [spec.text("clusterIP")] }
    self.addresses = addresses.filter { !$0.isEmpty && $0 != "None" }
    ports = (spec["ports"]?.array ?? []).compactMap { $0["nodePort"]?.integer.flatMap { UInt16(exactly: $0) } }
      .filter { $0 != 0 }
    if let health = spec["healthCheckNodePort"]?.integer.flatMap({ UInt16(exactly: $0) }), health != 0 {
      ports.append(health)
    }
    // One number may serve a port of TCP and one of UDP.
    ports = Array(Set(ports)).sorted()
  }
}

/// What was taken for one request: kept when it is stored, given back when it is not.
struct ServiceAllocation: Sendable {
  static let none = ServiceAllocation(owner: nil)

  let owner: ServiceAllocations?
  var takenAddresses: [String] = []
  var takenPorts: [UInt16] = []
  /// Of the version before; no longer needed once the new one is stored.
  var freedAddresses: [String] = []
  var freedPorts: [UInt16] = []

  func undo() { owner?.release(addresses: takenAddresses, ports: takenPorts) }
  func keep() { owner?.release(addresses: freedAddresses, ports: freedPorts) }
}
