import JSON
import KubeModel
import KubePresentation

/// A column that a definition adds to the table of its resource.
struct CustomColumn: Sendable {
  let json: JSONValue
  private let type: String
  private let path: JSONPath

  init(_ column: JSONValue) {
    type = column.text("type")
    path = JSONPath(column.text("jsonPath"))
    json = [
      "name": .string(column.text("name")), "type": .string(type), "format": .string(column.text("format")),
      "description": .string(
        column["description"]?.string
          ?? "Custom resource definition column (in JSONPath format): \(column.text("jsonPath"))"),
      "priority": column["priority"] ?? 0,
    ]
  }

  static let age = CustomColumn([
    "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
    "description": "CreationTimestamp is a timestamp representing the server time when this object was created.",
  ])

  /// What stands in the column for an object; null where there is nothing. - Parameter now: seconds since 1970.
  func cell(_ object: JSONValue, now: Int64) -> JSONValue {
    let found = path.values(in: object)
    guard let first = found.first else { return .null }
    switch type {
    case "integer": return first.integer.map { .integer($0) } ?? .null
    case "number": return first.double == nil ? .null : first
    case "boolean": return first.bool.map { .bool($0) } ?? .null
    case "date":
      guard let text = first.string, let time = ObjectNames.seconds(text) else { return "<unknown>" }
      return .string(HumanDuration.text(seconds: max(0, now - time)))
    default:
      let texts = found.map { value in value.string ?? value.encodedString() }
      return .string(texts.joined(separator: ","))
    }
  }
}

extension CustomResource {
  /// The table that `kubectl get` prints.
  func table(
    _ objects: [JSONValue], list: JSONObject, _ included: TablePresenter.IncludedObject, now: Int64
  ) -> JSONValue {
    let name: JSONValue = [
      "name": "Name", "type": "string", "format": "name",
      "description": "The name of the object, unique among its kind in a namespace.", "priority": 0,
    ]
    let rows = objects.map { object -> JSONValue in
      let shown: JSONValue =
        switch included {
        case .none: .null
        case .metadata: TablePresenter.partialMetadata(object)
        case .object: object
        }
      return [
        "cells": .array([.string(object.text("metadata", "name"))] + columns.map { $0.cell(object, now: now) }),
        "object": shown,
      ]
    }
    return [
      "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": .object(list),
      "columnDefinitions": .array([name] + columns.map(\.json)), "rows": .array(rows),
    ]
  }
}

/// The part of JSONPath that printer columns use: members, `['key']`, `[0]`, `[*]` and `[?(@.type=="Ready")]`.
struct JSONPath: Sendable {
  private enum Step: Sendable {
    case member(String)
    case index(Int)
    case all
    case filter([String], equals: String)
  }

  private let steps: [Step]

  /// What cannot be read finds nothing.
  init(_ text: String) {
    var steps: [Step] = []
    var rest = text[...]
    while let first = rest.first {
      rest.removeFirst()
      if first == "." {
        let name = rest.prefix { $0 != "." && $0 != "[" }
        rest.removeFirst(name.count)
        if !name.isEmpty { steps.append(name == "*" ? .all : .member(String(name))) }
      } else if first == "[" {
        guard let end = Self.end(of: rest) else { break }
        steps.append(Self.bracket(String(rest[..<end])))
        rest = rest[rest.index(after: end)...]
      } else {
        steps.append(.member(""))
        break
      }
    }
    self.steps = steps
  }

  /// The closing bracket, outside quotes.
  private static func end(of text: Substring) -> Substring.Index? {
    var quote: Character?
    for place in text.indices {
      let character = text[place]
      if let open = quote {
        if character == open { quote = nil }
      } else if character == "'" || character == "\"" {
        quote = character
      } else if character == "]" {
        return place
      }
    }
    return nil
  }

  private static func bracket(_ text: String) -> Step {
    if text == "*" { return .all }
    if let number = Int(text) { return .index(number) }
    func unquoted(_ text: Substring) -> String {
      String(
        text.drop { $0 == " " || $0 == "'" || $0 == "\"" }.reversed().drop { $0 == " " || $0 == "'" || $0 == "\"" }
          .reversed())
    }
    guard text.hasPrefix("?(@."), text.hasSuffix(")"), let equals = text.range(of: "==") else {
      return .member(unquoted(text[...]))
    }
    let path = text[text.index(text.startIndex, offsetBy: 4)..<equals.lowerBound]
    let value = text[equals.upperBound...].dropLast()
    return .filter(unquoted(path).split(separator: ".").map(String.init), equals: unquoted(value))
  }

  func values(in document: JSONValue) -> [JSONValue] {
    var found = [document]
    for step in steps {
      found = found.flatMap { value -> [JSONValue] in
        switch step {
        case .member(let name): value[name].map { [$0] } ?? []
        case .index(let index): value[index < 0 ? (value.array?.count ?? 0) + index : index].map { [$0] } ?? []
        case .all: value.array ?? value.object?.members.map(\.value) ?? []
        case .filter(let path, let wanted):
          (value.array ?? []).filter { item in
            let found = item.at(path)
            return (found?.string ?? found?.encodedString()) == wanted
          }
        }
      }
    }
    return found.filter { !$0.isNull }
  }
}

extension String {
  /// Where a text stands first.
  fileprivate func range(of text: String) -> Range<Index>? { firstRange(of: text) }
}
