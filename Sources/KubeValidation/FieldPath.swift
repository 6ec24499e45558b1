/// Where a field stands. Made into text only when something is wrong there.
struct FieldPath: Sendable {
  private indirect enum Step: Sendable {
    case root(String)
    case child(Step, String)
    case index(Step, Int)
    case key(Step, String)

    var text: String {
      switch self {
      case .root(let name): name
      case .child(let parent, let name): "\(parent.text).\(name)"
      case .index(let parent, let index): "\(parent.text)[\(index)]"
      case .key(let parent, let key): "\(parent.text)[\(key)]"
      }
    }
  }
  private let step: Step

  private init(_ step: Step) { self.step = step }
  init(_ name: String) { step = .root(name) }

  /// A field of this object.
  subscript(name: String) -> FieldPath { FieldPath(.child(step, name)) }
  /// An element of this list.
  subscript(index: Int) -> FieldPath { FieldPath(.index(step, index)) }
  /// A value of this map.
  func key(_ key: String) -> FieldPath { FieldPath(.key(step, key)) }

  var text: String { step.text }
}
