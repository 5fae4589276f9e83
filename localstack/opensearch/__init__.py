"""A stand-in for a collection of OpenSearch Serverless of type VECTORSEARCH, as far as documented:
OpenSearch Service developer guide, "Supported operations and plugins in Amazon OpenSearch
Serverless", "Choosing a collection type"; OpenSearch 2.17 for what requests and answers look like.
"""
