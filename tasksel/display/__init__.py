"""What both packages show: tables and figures."""
