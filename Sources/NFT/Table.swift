/// A table of family `inet`: what shall be in the kernel, as a value.
package struct Table: Sendable, Hashable {
  package var name: String
  package var sets: [NamedSet]
  package var chains: [Chain]

  package init(name: String, sets: [NamedSet], chains: [Chain]) {
    self.name = name
    self.sets = sets
    self.chains = chains
  }
}

/// A set or map without its elements.
package struct SetDeclaration: Sendable, Hashable {
  package enum Value: Sendable, Hashable {
    case none
    case data([DataType])
    case verdict
  }
  /// Who puts elements in, and what they are.
  package enum Behaviour: Sendable, Hashable {
    case plain
    /// May have very many elements. Where they come with the set itself, it is made with room for them and many more: a
    /// hash table that grows in the middle of a transaction doubles the transaction's cost. Else it grows by itself.
    case large
    /// The key's last part may be a block of addresses; the kernel copies the whole set at each change.
    case intervals
    /// Rules add elements, up to `size`, which time out by themselves; a difference leaves them alone.
    case dynamic(size: UInt32)
  }
  package var name: String
  package var key: [DataType]
  package var value: Value
  package var behaviour: Behaviour

  package init(name: String, key: [DataType], value: Value = .none, behaviour: Behaviour = .plain) {
    self.name = name
    self.key = key
    self.value = value
    self.behaviour = behaviour
  }

  package var isDynamic: Bool {
    if case .dynamic = behaviour { true } else { false }
  }
}

/// A set or map with its elements. Order means nothing; a key occurs once.
package struct NamedSet: Sendable, Hashable {
  package var declaration: SetDeclaration
  package var elements: [Words: ElementValue]

  package init(_ declaration: SetDeclaration, elements: [Words: ElementValue] = [:]) {
    self.declaration = declaration
    self.elements = elements
  }
}

package enum ElementValue: Sendable, Hashable {
  case none
  /// The key is the first of an interval, this its last: parts that are no intervals are the same in both.
  case upTo(Words)
  case data(Words)
  case verdict(Verdict)
}

package enum Verdict: Sendable, Hashable {
  case accept
  case drop
  case jump(String)
  case goto(String)
}

package struct Element: Sendable, Hashable {
  package var key: Words
  package var value: ElementValue

  package init(_ key: Words, _ value: ElementValue = .none) {
    self.key = key
    self.value = value
  }
}

package struct Chain: Sendable, Hashable {
  /// Where packets enter it; nil: only by jump.
  package struct Base: Sendable, Hashable {
    package enum Kind: String, Sendable { case nat, filter }
    package enum Hook: UInt32, Sendable { case prerouting, input, forward, output, postrouting }
    package var kind: Kind
    package var hook: Hook
    package var priority: Int32

    package init(kind: Kind, hook: Hook, priority: Int32) {
      self.kind = kind
      self.hook = hook
      self.priority = priority
    }
  }
  package var name: String
  package var base: Base?
  package var rules: [Rule]

  package init(name: String, base: Base? = nil, rules: [Rule]) {
    self.name = name
    self.base = base
    self.rules = rules
  }
}

package struct Rule: Sendable, Hashable {
  package var statements: [Statement]

  package init(_ statements: Statement...) { self.statements = statements }
  package init(statements: [Statement]) { self.statements = statements }
}

/// Something of a packet that can be compared or looked up.
package indirect enum Operand: Sendable, Hashable {
  case sourceAddress(AddressFamily)
  case destinationAddress(AddressFamily)
  case transport
  case destinationPort
  case priority
  /// The address that the connection's first packet was sent to.
  case originalDestination(AddressFamily)
  /// And its port. Only behind a match of the transport.
  case originalDestinationPort
  /// What the node's routes say of an address: local, unicast…
  case sourceKind
  case destinationKind
  /// The link that answers to the source would leave by, if they came in by the right one; 0 otherwise.
  case reversePath
  case inputLink
  case outputLink
  /// `offset`, `offset` + 1, … `offset` + `modulus` - 1, and again.
  case counter(modulus: UInt32, offset: UInt32)
  /// One of the same numbers, drawn anew for each packet.
  case random(modulus: UInt32, offset: UInt32)
  /// Between `offset` and `offset` + `modulus` - 1.
  case hash([Operand], modulus: UInt32, seed: UInt32, offset: UInt32)
}

/// What an operand is compared with.
package enum Literal: Sendable, Hashable {
  case address([UInt8])
  case prefix([UInt8], length: Int)
  case transport(UInt8)
  /// For `sourceKind` and `destinationKind`: an address of the node itself.
  case local
  /// A link's name; with `*` at the end, all that begin so.
  case link(String)
  case number(UInt32)
}

package enum Statement: Sendable, Hashable {
  case match(Operand, equal: Bool, Literal)
  case matchSet([Operand], set: String, contained: Bool)
  /// Only connections whose destination was rewritten.
  case destinationWasTranslated
  /// Only packets of connections that are known, or belong to one.
  case isKnownConnection
  case family(AddressFamily)
  /// A destination port of one protocol; nil: that protocol.
  case destinationPorts(transport: UInt8, ClosedRange<UInt16>?)
  /// A neighbour solicitation of IPv6, or the answer to one.
  case neighbourDiscovery(answer: Bool)
  /// Puts a value beside a key into a dynamic map, or makes it last longer where the key is there.
  case update(map: String, key: [Operand], seconds: UInt32, value: Operand)
  case forget(map: String, key: [Operand], value: Operand)
  case setPriority(UInt32)
  case setPriorityFrom(Operand)
  /// Stops at this rule where the map has no such key.
  case setPriorityFromMap([Operand], map: String)
  case verdictMap([Operand], map: String)
  /// The map's value is address and port.
  case translateDestination(AddressFamily, key: [Operand], map: String)
  case masquerade
  case resetConnection
  /// ICMP port unreachable of the packet's family.
  case refuse
  case counter
  case verdict(Verdict)
  /// Of a rule that was read and is not ours: what it is made of. It can be shown, not sent.
  case foreign(String)
}
