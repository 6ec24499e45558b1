/// A part of an expression, with its place in the text.
package struct CELNode: Sendable {
  indirect enum Kind: Sendable {
    case literal(CELValue)
    case name(String)
    case select(CELNode, String, isOptional: Bool)
    /// `has(a.b)`
    case has(CELNode, String)
    case index(CELNode, CELNode, isOptional: Bool)
    /// A function, or a method of a value.
    case call(String, target: CELNode?, [CELNode])
    case list([(CELNode, isOptional: Bool)])
    case map([(key: CELNode, value: CELNode, isOptional: Bool)])
    case and(CELNode, CELNode)
    case or(CELNode, CELNode)
    case choice(CELNode, CELNode, CELNode)
    case loop(CELLoop)
    /// `cel.bind(name, value, body)`
    case bind(String, CELNode, CELNode)
    /// `optMap` and `optFlatMap`
    case optionalMap(CELNode, String, CELNode, isFlat: Bool)
  }

  let kind: Kind
  /// Unicode scalars from the start of the expression.
  let offset: Int
}

/// A macro over the members of a list or a map.
struct CELLoop: Sendable {
  enum Kind: Sendable { case all, exists, existsOne, filter, map, transformList, transformMap }

  let kind: Kind
  let range: CELNode
  /// One: the item of a list or the key of a map; two: the index or key, and the value.
  let names: [String]
  let condition: CELNode?
  let body: CELNode
}
