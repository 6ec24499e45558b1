package import JSON

/// What a YAML text may be at most. A small one can describe a huge value through its aliases; the bound is on the value.
package struct YAMLLimits: Hashable, Sendable {
  /// Bytes of a text with all its documents.
  package var fileBytesMax = 4 << 20
  /// Documents in a text.
  package var documentsMax = 1000
  /// Values in a document after its aliases are expanded.
  package var valuesMax = 200_000
  /// Bytes of text in a document after its aliases are expanded.
  package var textBytesMax = 16 << 20
  package var depthMax = 64

  package init() {}
}

/// One document of a text: a value, or why there is none.
package struct YAMLDocument: Hashable, Sendable {
  /// Counted from 1 within the text.
  package var number: Int
  package var content: Result<JSONValue, YAMLError>

  package init(number: Int, content: Result<JSONValue, YAMLError>) { (self.number, self.content) = (number, content) }
}

/// Why a text is not YAML that we take, with its line where that is known.
package struct YAMLError: Error, Hashable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// YAML as Kubernetes reads it: 1.1, plain scalars by their looks, anchors, aliases and merge keys expanded, tags other
/// than those of JSON's types refused.
package enum YAML {
  /// The values of the documents that are not empty.
  /// - Throws: what is wrong with the first document that cannot be taken.
  package static func parse(_ text: String, limits: YAMLLimits = YAMLLimits()) throws(YAMLError) -> [JSONValue] {
    var values: [JSONValue] = []
    for document in documents(text, limits: limits) { values.append(try document.content.get()) }
    return values
  }

  /// The documents that are not empty. An error of syntax and a bound that is passed end the list, because nobody knows
  /// or wants to know what follows.
  package static func documents(_ text: String, limits: YAMLLimits = YAMLLimits()) -> [YAMLDocument] {
    var text = text
    return text.withUTF8 { bytes in
      guard bytes.count <= limits.fileBytesMax else {
        let why = "a text of \(bytes.count) bytes, more than \(limits.fileBytesMax)"
        return [YAMLDocument(number: 1, content: .failure(YAMLError(why)))]
      }
      var documents: [YAMLDocument] = []
      var number = 0
      do throws(YAMLError) {
        let events = unsafe try YAMLEvents(bytes)
        while try events.next().kind == .documentStart {
          number += 1
          guard number <= limits.documentsMax else {
            throw YAMLError("more than \(limits.documentsMax) documents in one file")
          }
          var builder = YAMLBuilder(limits: limits)
          switch try builder.document(events) {
          case .success(let value?): documents.append(YAMLDocument(number: number, content: .success(value)))
          case .success(nil): break
          case .failure(let error): documents.append(YAMLDocument(number: number, content: .failure(error)))
          }
        }
      } catch {
        // Of the document that was being read, or of what stands where one should begin.
        documents.append(YAMLDocument(number: max(number, 1), content: .failure(error)))
      }
      return documents
    }
  }
}
