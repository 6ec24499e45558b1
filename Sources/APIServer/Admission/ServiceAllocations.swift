import JSON
import Kernel
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

/// Why an address or a port was not given, in the words of a field error.
struct AllocationError: Error {
  let why: String
}

/// Which addresses and node ports the Services have. Rebuilt from the store at start.
package final class ServiceAllocations: Sendable {
  private struct State {
    /// Offsets into the network.
    var addresses: Set<UInt32> = []
    var ports: Set<UInt16> = []
  }

  let network: IPv4Network
  let ports: ClosedRange<UInt16>
  private let state = Mutex(State())

  /// The lower part of the network is for those who ask for an address, as Kubernetes divides it: what is given without
  /// being asked for comes from above it while there is room.
  private let reserved: UInt32
  private static let reservedMax: UInt32 = 256
  private static let reservedMin: UInt32 = 16
  /// Random places that are tried before every place is.
  private static let randomTries = 32

  init(addresses: IPv4Network, ports: ClosedRange<UInt16>) {
    network = addresses
    self.ports = ports
    reserved = min(max(Self.reservedMin, addresses.count / 16), Self.reservedMax)
  }

  func take(address: String) throws(AllocationError) {
    guard let offset = network.offset(address) else {
      throw AllocationError(
        why: "failed to allocate IP \(address): the provided IP (\(address)) is not in the valid range. The range of "
          + "valid IPs is \(network)")
    }
    guard state.withLock({ $0.addresses.insert(offset).inserted }) else {
      throw AllocationError(why: "failed to allocate IP \(address): provided IP is already allocated")
    }
  }

  func takeAddress() throws(AllocationError) -> String {
    let found = state.withLock { state -> UInt32? in
      let upper = min(reserved, network.count / 2)..<(network.count - 1)
      for _ in 0..<Self.randomTries {
        let offset = UInt32.random(in: upper)
        if state.addresses.insert(offset).inserted { return offset }
      }
      guard
        let free = upper.first(where: { !state.addresses.contains($0) })
          ?? (1..<upper.lowerBound).first(where: { !state.addresses.contains($0) })
      else { return nil }
      state.addresses.insert(free)
      return free
    }
    guard let found else { throw AllocationError(why: "failed to allocate a serviceIP: range is full") }
    return network.address(found)
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
      for address in addresses { if let offset = network.offset(address) { state.addresses.remove(offset) } }
      for port in ports { state.ports.remove(port) }
    }
  }

  /// What a stored Service holds is taken, whoever else has it.
  func adopt(_ service: JSONObject) {
    let held = ServiceHoldings(service)
    state.withLock { state in
      for address in held.addresses { if let offset = network.offset(address) { state.addresses.insert(offset) } }
      state.ports.formUnion(held.ports)
    }
  }

  func release(_ service: JSONObject) {
    let held = ServiceHoldings(service)
    release(addresses: held.addresses, ports: held.ports)
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
